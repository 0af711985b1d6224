package imagefile

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/nixreg/nixreg/internal/oci"
)

// arguments are the keys of an image, and the functions that read their values. The values are never null.
var arguments = map[string]func(*reader, argument){
	"name":              (*reader).name,
	"tag":               (*reader).tag,
	"fromImage":         (*reader).fromImage,
	"contents":          (*reader).contents,
	"config":            (*reader).config,
	"architecture":      (*reader).architecture,
	"variant":           (*reader).variant,
	"created":           func(r *reader, a argument) { r.time(a, &r.image.Created) },
	"mtime":             func(r *reader, a argument) { r.time(a, &r.image.MTime) },
	"uid":               func(r *reader, a argument) { r.id(a, &r.image.UID) },
	"gid":               func(r *reader, a argument) { r.id(a, &r.image.GID) },
	"uname":             func(r *reader, a argument) { r.owner(a, &r.image.Uname) },
	"gname":             func(r *reader, a argument) { r.owner(a, &r.image.Gname) },
	"maxLayers":         (*reader).maxLayers,
	"layering":          (*reader).layering,
	"includeStorePaths": func(r *reader, a argument) { r.boolean(a, &r.image.IncludeStorePaths) },
	"includeNixDB":      func(r *reader, a argument) { r.boolean(a, &r.image.IncludeNixDB) },
	"root":              (*reader).root,
}

// needBuild are the arguments of nixpkgs that run commands.
var needBuild = []string{"extraCommands", "fakeRootCommands", "enableFakechroot", "layeringPipeline", "runAsRoot"}

// withoutEffect are the arguments of nixpkgs that change no byte of an image, and $schema, which editors read.
var withoutEffect = []string{"debug", "passthru", "meta", "$schema"}

func (r *reader) name(a argument) {
	s, ok := r.text(a)
	switch {
	case !ok:
	case len(s) > oci.MaxName:
		r.invalid(a.value.at, badValue, "name: more than %d characters", oci.MaxName)
	case !oci.IsImageName(s):
		r.invalid(a.value.at, badValue, "name: %.100q: want letters and digits, with ., _, __ or dashes between them, and parts joined by /", s)
	default:
		r.image.Name = s
	}
}

func (r *reader) tag(a argument) {
	s, ok := r.text(a)
	if ok && !oci.IsTag(s) {
		r.invalid(a.value.at, badValue, "tag: %.150q: want %s", s, oci.TagForm)
		return
	}
	r.image.Tag = s
}

func (r *reader) contents(a argument) {
	items := []*node{a.value}
	if a.value.kind == list {
		items = a.value.items
	}
	for _, n := range items {
		if n.kind != text {
			r.mismatch("contents", n, "store paths or names of packages")
			continue
		}
		if problem := contentProblem(n.text); problem != "" {
			r.invalid(n.at, badValue, "contents: %.300q: %s", n.text, problem)
			continue
		}
		r.image.Contents = append(r.image.Contents, Content{n.text, n.at})
	}
}

func (r *reader) fromImage(a argument) {
	s, ok := r.text(a)
	if !ok {
		return
	}
	s, problem := baseImage(r.file, s)
	if problem != "" {
		r.invalid(a.value.at, badValue, "fromImage: %.300q: %s", a.value.text, problem)
		return
	}
	r.image.FromImage = s
}

func (r *reader) config(a argument) {
	if a.value.kind != object {
		r.mismatch(a.key, a.value, "an object")
		return
	}
	if r.whole(a.value) {
		r.settings(a.value)
		r.image.Config = appendJSON(nil, a.value)
	}
}

// whole reports whether no number below n has a fraction. Versions of Nix write fractions differently.
func (r *reader) whole(n *node) bool {
	switch n.kind {
	case broken:
		return false
	case float:
		r.invalid(n.at, badType, "config: %.50s is not a whole number, and no setting takes one: if it is text, write it in quotes", n.text)
		return false
	}
	ok := true
	for _, item := range n.items {
		ok = r.whole(item) && ok
	}
	for _, m := range n.members {
		ok = r.whole(m.value) && ok
	}
	return ok
}

func (r *reader) architecture(a argument) {
	s, ok := r.text(a)
	switch goarch := goarchOf[s]; {
	case !ok:
	case goarch != "":
		r.invalid(a.value.at, badValue, "architecture: %q: write %s, Docker's name for it", s, goarch)
	case !oci.IsPlatformWord(s) || strings.ContainsAny(s, "._-"):
		r.invalid(a.value.at, badValue, "architecture: %.50q: want Docker's name for one, such as amd64 or arm64", s)
	default:
		r.image.Architecture = s
	}
}

func (r *reader) variant(a argument) {
	s, ok := r.text(a)
	if ok && s != "" && !oci.IsPlatformWord(s) {
		r.invalid(a.value.at, badValue, "variant: %.50q: want one such as v7 or v8", s)
		return
	}
	r.image.Variant = s
}

func (r *reader) time(a argument, to *string) {
	s, ok := r.text(a)
	if !ok {
		return
	}
	t, ok := parseTime(s)
	if !ok {
		r.invalid(a.value.at, badValue, "%s: %.50q: want a time, such as %s, or now", a.key, s, defaultTime)
		return
	}
	*to = t
}

// id reads the number of a user or group. The greatest number of 32 bits means none.
func (r *reader) id(a argument, to *int64) { r.integer(a, 0, math.MaxUint32-1, to) }

func (r *reader) owner(a argument, to *string) {
	s, ok := r.text(a)
	if ok && (len(s) > maxOwner || strings.Contains(s, "\n")) {
		r.invalid(a.value.at, badValue, "%s: %.50q: want one line of at most %d bytes", a.key, s, maxOwner)
		return
	}
	if ok {
		*to = s
	}
}

// maxLayers is at least 2: the store paths, and the links to the contents.
func (r *reader) maxLayers(a argument) {
	n := int64(defaultLayers)
	r.integer(a, 2, math.MaxInt32, &n)
	r.image.MaxLayers = int(n)
}

func (r *reader) layering(a argument) {
	s, ok := r.text(a)
	if !ok || !r.oneOf(a.key, a.value, string(Nixpkgs), string(Shared), string(Auto), string(Popularity)) {
		return
	}
	if r.image.Layering = Layering(s); r.image.Layering == Nixpkgs {
		r.image.Layering = Auto
	}
}

// rootParts are the parts in the order of messages.
var rootParts = []string{string(BinSh), string(Certificates), string(Home), string(OSRelease), string(Passwd), string(Tmp), string(UsrBinEnv)}

func (r *reader) root(a argument) {
	if a.value.kind != list {
		r.mismatch(a.key, a.value, "a list")
		return
	}
	for _, n := range a.value.items {
		if r.oneOf(a.key, n, rootParts...) {
			r.image.Root = append(r.image.Root, RootPart(n.text))
		}
	}
	slices.Sort(r.image.Root)
	r.image.Root = slices.Compact(r.image.Root)
}

func (r *reader) text(a argument) (string, bool) {
	if a.value.kind != text {
		r.mismatch(a.key, a.value, "text")
		return "", false
	}
	return a.value.text, true
}

func (r *reader) boolean(a argument, to *bool) {
	if a.value.kind != boolean {
		r.mismatch(a.key, a.value, "true or false")
		return
	}
	*to = a.value.text == "true"
}

func (r *reader) integer(a argument, least, most int64, to *int64) {
	if a.value.kind != integer {
		r.mismatch(a.key, a.value, "a whole number")
		return
	}
	n, err := strconv.ParseInt(a.value.text, 10, 64)
	if err != nil || n < least || n > most {
		r.invalid(a.value.at, badValue, "%s: want a number from %d to %d, not %.50s", a.key, least, most, a.value.text)
		return
	}
	*to = n
}

// oneOf reports whether n is one of words. If it is not, oneOf adds a problem.
func (r *reader) oneOf(key string, n *node, words ...string) bool {
	if n.kind == text && slices.Contains(words, n.text) {
		return true
	}
	last := len(words) - 1
	r.mismatch(key, n, strings.Join(words[:last], ", ")+" or "+words[last])
	return false
}
