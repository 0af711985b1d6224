package conformance_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// snippet is the fenced block of a page that has this text in it, with other texts in the place of the page's addresses
// and paths: old, new, and so on. A page whose blocks do not have them ends the test.
func snippet(t *testing.T, page, text string, replace ...string) string {
	t.Helper()
	for i, block := range strings.Split("\n"+string(readFile(t, page)), "\n```") {
		_, body, ok := strings.Cut(block, "\n")
		if i%2 == 0 || !ok || !strings.Contains(body, text) {
			continue
		}
		for k := 0; k < len(replace); k += 2 {
			if !strings.Contains(body, replace[k]) {
				t.Fatalf("%s: the block with %q has no %s", page, text, replace[k])
			}
			body = strings.ReplaceAll(body, replace[k], replace[k+1])
		}
		return body + "\n"
	}
	t.Fatalf("%s has no block with %q", page, text)
	return ""
}

// pages are those of the repository and docs/*.md, by name.
func pages(t *testing.T) map[string]string {
	t.Helper()
	names, err := filepath.Glob("../docs/*.md")
	if err != nil || len(names) == 0 {
		t.Fatalf("%v, %v", names, err)
	}
	all := make(map[string]string)
	for _, name := range append(names, "../README.md", "../CHANGELOG.md", "../CONTRIBUTING.md", "../SECURITY.md") {
		all[name] = string(readFile(t, name))
	}
	return all
}

var (
	pageLink    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	pageHeading = regexp.MustCompile(`(?m)^#+ (.+)$`)
	notInAnchor = regexp.MustCompile(`[^a-z0-9 _-]`)
)

// anchors are the fragments that a page's headings can be reached by.
func anchors(page string) (all []string) {
	for _, m := range pageHeading.FindAllStringSubmatch(page, -1) {
		all = append(all, strings.ReplaceAll(notInAnchor.ReplaceAllString(strings.ToLower(m[1]), ""), " ", "-"))
	}
	return all
}

func TestLinksOfThePages(t *testing.T) {
	linked := make(map[string]bool)
	for page, text := range pages(t) {
		for _, m := range pageLink.FindAllStringSubmatch(text, -1) {
			target, fragment, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			file := page
			if target != "" {
				file = filepath.Join(filepath.Dir(page), target)
			}
			b, err := os.ReadFile(file)
			if err != nil {
				t.Errorf("%s: %s leads nowhere", page, m[1])
			} else if fragment != "" && !slices.Contains(anchors(string(b)), fragment) {
				t.Errorf("%s: %s has no such heading", page, m[1])
			}
			linked[file] = linked[file] || file != page
		}
	}
	for page := range pages(t) {
		if !linked[page] && page != "../README.md" {
			t.Errorf("no page leads to %s", page)
		}
	}
}

// Each package has its place in the picture of docs/design.md, and what the pages call a package or a file of the source is one.
func TestPagesNameTheSource(t *testing.T) {
	design := string(readFile(t, "../docs/design.md"))
	for _, p := range packages(t) {
		name := strings.TrimPrefix(p.ImportPath, module+"/")
		if p.Name != "main" && !strings.Contains(design, name) {
			t.Errorf("docs/design.md does not name %s", name)
		}
	}
	inSource := regexp.MustCompile("`((?:cmd|conformance|internal|registry|manifest|store)/[A-Za-z0-9_./-]+)`")
	for page, text := range pages(t) {
		for _, m := range inSource.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat("../" + m[1]); err != nil && !strings.HasPrefix(m[1], "store/<") {
				t.Errorf("%s: there is no %s", page, m[1])
			}
		}
	}
}

func TestReadmeIsShort(t *testing.T) {
	if n := strings.Count(string(readFile(t, "../README.md")), "\n"); n >= 120 {
		t.Errorf("README.md has %d lines", n)
	}
}
