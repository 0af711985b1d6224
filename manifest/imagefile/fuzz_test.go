package imagefile

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/nixreg/nixreg/store"
)

var problemLine = regexp.MustCompile(`^f[.a-z]*:[1-9][0-9]*:[1-9][0-9]*: .`)

// publicLine is what everybody may know of a problem: a place and words that no file can change.
var publicLine = regexp.MustCompile(`^f[.a-z]*:[1-9][0-9]*:[1-9][0-9]*: (` + strings.Join(faultWords[:], "|") + `)$`)

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/[gb]*/*") // not those that fuzzing found
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(strings.HasSuffix(file, ".json"), data)
	}
	for _, c := range refusals {
		f.Add(false, []byte(c.data))
	}
	root := readSchema(f)
	f.Fuzz(func(t *testing.T, asJSON bool, data []byte) {
		file := "f.yaml"
		if asJSON {
			file = "f.json"
		}
		LooksLike(data)
		images, err := Parse(file, data)
		if err != nil {
			checkError(t, images, err)
			return
		}
		for _, image := range images {
			checkImage(t, image)
		}
		if !judge(t, root, file, data) {
			t.Error("the schema refuses what the parser takes")
		}
	})
}

func checkError(t *testing.T, images []*Image, err error) {
	if images != nil || !errors.Is(err, fs.ErrInvalid) && !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("%v, %v", images, err)
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		if !problemLine.MatchString(line) {
			t.Errorf("%q", line)
		}
	}
	for _, err := range err.(interface{ Unwrap() []error }).Unwrap() {
		if p, ok := err.(interface{ Public() string }); !ok || !publicLine.MatchString(p.Public()) {
			t.Errorf("%q is for everybody: %v", err, p)
		}
	}
}

// checkImage looks at what users of an Image rely on.
func checkImage(t *testing.T, i *Image) {
	if i.Name == "" || i.MaxLayers < 2 || i.UID < 0 || i.GID < 0 || i.At.Line < 1 {
		t.Errorf("%+v", i)
	}
	for _, c := range i.Contents {
		if p, rest, err := store.ParseAbs(c.Text); strings.HasPrefix(c.Text, "/") && (err != nil || rest != "" || p.Abs() != c.Text) {
			t.Errorf("contents %q: %v", c.Text, err)
		}
	}
	// What was written is read as the same, so the keys are in order and no white space is left.
	docs := (&tree{problems: new(problems)}).documents(i.Config)
	if len(docs) != 1 || docs[0].kind != object || !json.Valid(i.Config) || !bytes.Equal(appendJSON(nil, docs[0]), i.Config) {
		t.Errorf("config %s", i.Config)
	}
}
