package listing

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func descriptors(names string) (list []v1.Descriptor) {
	for name := range strings.FieldsSeq(names) {
		list = append(list, v1.Descriptor{Digest: v1.Hash{Algorithm: "sha256", Hex: name}})
	}
	return list
}

// walkOf walks a graph: what each index lists, "" for an image. What is not in it is missing.
func walkOf(graph map[string]string, reads map[string]int) ([]string, string, error) {
	documents, missing, err := Walk(descriptors("top")[0], func(d v1.Descriptor) (string, []v1.Descriptor, error) {
		reads[d.Digest.Hex]++
		children, ok := graph[d.Digest.Hex]
		switch {
		case children == "broken":
			return "", nil, fs.ErrInvalid
		case !ok:
			return "", nil, fmt.Errorf("%s: %w", d.Digest.Hex, fs.ErrNotExist)
		}
		return d.Digest.Hex, descriptors(children), nil
	})
	var lost []string
	for _, d := range missing {
		lost = append(lost, d.Hex)
	}
	return documents, strings.Join(lost, " "), err
}

func TestWalk(t *testing.T) {
	for name, c := range map[string]struct {
		graph         map[string]string
		want, missing string
		err           error
	}{
		"image":               {map[string]string{"top": ""}, "top", "", nil},
		"lists before":        {map[string]string{"top": "a i b", "a": "", "b": "", "i": "c d", "c": "", "d": ""}, "a c d i b top", "", nil},
		"each once":           {map[string]string{"top": "a a i j", "a": "", "i": "a", "j": "i"}, "a i j top", "", nil},
		"some missing":        {map[string]string{"top": "x a y x i", "a": "", "i": "x b", "b": ""}, "a b i top", "x y", nil},
		"index of nothing":    {map[string]string{"top": "a i", "a": "", "i": "x y"}, "a top", "i", nil},
		"nothing again":       {map[string]string{"top": "a i j", "a": "", "i": "x", "j": "x"}, "a top", "i j", nil},
		"all missing":         {map[string]string{"top": "x y"}, "", "", fs.ErrNotExist},
		"root is missing":     {nil, "", "", fs.ErrNotExist},
		"empty index":         {map[string]string{"top": "i", "i": " "}, "i top", "", nil},
		"broken":              {map[string]string{"top": "a b", "a": "", "b": "broken"}, "", "", fs.ErrInvalid},
		"deep enough":         {map[string]string{"top": "1", "1": "2", "2": "3", "3": "a", "a": ""}, "a 3 2 1 top", "", nil},
		"too deep":            {map[string]string{"top": "1", "1": "2", "2": "3", "3": "4", "4": "a", "a": ""}, "", "", errors.ErrUnsupported},
		"a circle, if it was": {map[string]string{"top": "a i", "a": "", "i": "top"}, "a i top", "", nil},
	} {
		reads := make(map[string]int)
		got, missing, err := walkOf(c.graph, reads)
		if strings.Join(got, " ") != c.want || missing != c.missing || !errors.Is(err, c.err) {
			t.Errorf("%s: %q, missing %q, %v", name, got, missing, err)
		}
		for d, n := range reads {
			if n != 1 {
				t.Errorf("%s: %s was read %d times", name, d, n)
			}
		}
	}
}

func TestWalkIsBounded(t *testing.T) {
	graph := make(map[string]string)
	for i := range MaxDocuments {
		graph[fmt.Sprint(i)] = ""
	}
	names := slices.Collect(maps.Keys(graph))
	graph["top"] = strings.Join(names[1:], " ")
	if got, _, err := walkOf(graph, make(map[string]int)); err != nil || len(got) != MaxDocuments {
		t.Errorf("%d documents: %v", len(got), err)
	}
	graph["top"] = strings.Join(names, " ")
	if _, _, err := walkOf(graph, make(map[string]int)); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("one more: %v", err)
	}
}
