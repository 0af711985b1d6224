package conformance_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The pages whose YAML blocks are definition files.
const (
	imagesPage      = "../docs/images.md"
	dockerToolsPage = "../docs/coming-from-dockertools.md"
)

// What readers of these pages have to put something in the place of.
const (
	pageHello = "/nix/store/…-hello-2.12.1"
	pageBase  = "docker.io/library/debian@sha256:…"
)

// block is a fenced block of a page.
type block struct{ language, text string }

func pageBlocks(t *testing.T, page string) (blocks []block) {
	t.Helper()
	for i, part := range strings.Split("\n"+string(readFile(t, page)), "\n```") {
		if language, text, ok := strings.Cut(part, "\n"); ok && i%2 == 1 {
			blocks = append(blocks, block{language, text + "\n"})
		}
	}
	if len(blocks) == 0 {
		t.Fatalf("%s has no blocks", page)
	}
	return blocks
}

// definitionBlocks are a page's definition files.
func definitionBlocks(t *testing.T, page string) (files []string) {
	t.Helper()
	for _, b := range pageBlocks(t, page) {
		if b.language == "yaml" {
			files = append(files, b.text)
		}
	}
	if len(files) == 0 {
		t.Fatalf("%s has no definition files", page)
	}
	return files
}

// demoHello is the store path of the demo's hello.
func demoHello(t *testing.T) string {
	t.Helper()
	var reports []struct{ Command []string }
	if err := json.Unmarshal([]byte(output(t, nil, binary, "inspect", "--demo", "--json", "hello")), &reports); err != nil {
		t.Fatal(err)
	}
	path, ok := strings.CutSuffix(reports[0].Command[0], "/bin/hello")
	if !ok {
		t.Fatalf("the demo's hello runs %q", reports[0].Command)
	}
	return path
}

// Every definition in the pages is one that nixreg takes, but for one that names a registry.
func TestDefinitionsInPagesAreRight(t *testing.T) {
	mine := strings.NewReplacer(pageHello, demoHello(t))
	for _, page := range []string{imagesPage, dockerToolsPage} {
		for _, text := range definitionBlocks(t, page) {
			if strings.Contains(text, pageBase) {
				continue
			}
			if out := output(t, nil, binary, "check", "--demo", yamlFile(t, "%s", mine.Replace(text))); out != "" {
				t.Errorf("%s: check says %s of\n%s", page, out, text)
			}
		}
	}
}

// The one that names a registry is served, where the registry is the demo.
func TestPageHasABaseImage(t *testing.T) {
	s := start(t, demo)
	digest := s.manifest(t, "hello", "latest", accepts["oci"]...).Digest
	file := yamlFile(t, "%s", snippet(t, dockerToolsPage, pageBase, pageBase, "demo.example/hello@"+digest))
	based := start(t, options{Args: []string{"--demo", "--images", file, "--mirror", "demo.example=" + s.URL}})
	below, all := s.image(t, "hello", "latest", accepts["oci"]...)[1], based.image(t, "debian-hello", "latest", accepts["oci"]...)
	if got, want := digests(all[0].Layers), digests(below.Layers); len(got) <= len(want) || !slices.Equal(got[:len(want)], want) {
		t.Errorf("layers are %v, want %v first", got, want)
	}
}

// What the page shows of mistakes is what check says.
func TestPageShowsWhatCheckSays(t *testing.T) {
	dir := t.TempDir()
	wrong := "name: web\ntag: v1\ncontens: hello\nextraCommands: mkdir tmp\n"
	if err := os.WriteFile(filepath.Join(dir, "web.yaml"), []byte(wrong), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := program{path: binary}.run(t.Context(), dir, "check", "--demo", "web.yaml")
	if want := snippet(t, imagesPage, "unknown key"); err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("check: %v\nthe page has\n%s", err, want)
	}
}

// The schema that ships with the pages is the program's.
func TestSchemaInDocs(t *testing.T) {
	if got := output(t, nil, binary, "check", "--schema"); got != string(readFile(t, "../docs/image.schema.json")) {
		t.Error("docs/image.schema.json is not what nixreg check --schema prints")
	}
}

// Whoever comes from dockerTools finds every argument there is.
func TestPageHasEveryArgument(t *testing.T) {
	var schema struct {
		Defs struct {
			Image struct{ Properties map[string]any }
		} `json:"$defs"`
	}
	if err := json.Unmarshal(readFile(t, "../docs/image.schema.json"), &schema); err != nil {
		t.Fatal(err)
	}
	if len(schema.Defs.Image.Properties) == 0 {
		t.Fatal("the schema has no arguments")
	}
	page := string(readFile(t, dockerToolsPage))
	for name := range schema.Defs.Image.Properties {
		if name != "$schema" && !strings.Contains(page, "`"+name+"`") {
			t.Errorf("%s does not have %s", dockerToolsPage, name)
		}
	}
}

func TestImagesPageCommands(t *testing.T) {
	endToEnd(t)
	runPage(t, imagesPage, strings.NewReplacer())
}

func TestComingFromDockerToolsPageCommands(t *testing.T) {
	endToEnd(t)
	runPage(t, dockerToolsPage, strings.NewReplacer(pageHello, helloPath(t)))
}

var (
	// savedAs is the first line of a block that readers save as a file.
	savedAs = regexp.MustCompile(`^# (images/[a-z-]+\.yaml)\n`)
	// pageImage is an image of the server that a page starts.
	pageImage = regexp.MustCompile(`\blocalhost:5000/\S+`)
)

// runPage does what a page says, in its order: it saves the files that have a name, and runs each sh command as it stands
// there. A server serves until the next one, and what docker run prints is a greeting.
func runPage(t *testing.T, page string, mine *strings.Replacer) {
	t.Helper()
	const dir = "../images"
	if exists(t, dir) {
		t.Fatalf("%s is in the way", dir)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	forget := func() {
		for _, image := range pageImage.FindAllString(strings.Join(shellCommands(t, page), "\n"), -1) {
			program{path: "docker"}.undo(t.Context(), "image", "rm", "--force", image)
		}
	}
	t.Cleanup(forget)
	stop := func() {}
	for _, b := range pageBlocks(t, page) {
		if m := savedAs.FindStringSubmatch(b.text); m != nil {
			if err := os.WriteFile(filepath.Join("..", m[1]), []byte(mine.Replace(b.text)), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if b.language != "sh" {
			continue
		}
		for command := range strings.Lines(b.text) {
			command = strings.TrimSuffix(command, "\n")
			if isServe(command) {
				stop()
				forget()
				_, stop = background(t, command)
				continue
			}
			out := output(t, nil, "bash", "-euo", "pipefail", "-c", "cd .. && "+offline(command))
			if strings.HasPrefix(command, "docker run") && !strings.HasPrefix(out, "Hello") {
				t.Errorf("%s: prints %q, want a greeting", command, out)
			}
		}
	}
	stop()
}
