package pull

import (
	"testing"
)

func TestPullWritesWhatSkopeoWrites(t *testing.T) {
	for _, name := range goldenNames(t) {
		t.Run(name, func(t *testing.T) {
			g := readGolden(t, name)
			result, archive, err := g.pull(t, g)
			if err != nil {
				t.Fatal(err)
			}
			if result.Hash != g.Archive {
				t.Errorf("archive is %s, skopeo's is %s", result.Hash, g.Archive)
			}
			if result.Size != int64(len(archive)) || result.Digest.String() != g.Digest {
				t.Errorf("result %+v; %d bytes were written of %s", result, len(archive), g.Digest)
			}
		})
	}
}
