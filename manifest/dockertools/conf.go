package dockertools

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/nixreg/nixreg/internal/oci"
	"github.com/nixreg/nixreg/manifest/document"
	"github.com/nixreg/nixreg/manifest/layer"
	"github.com/nixreg/nixreg/store"
)

// DefaultTime is nixpkgs' default for created and mtime.
const DefaultTime = "1970-01-01T00:00:01+00:00"

// MaxLayersOfConf bounds the layers of a conf.json. Runtimes take 125 to 128.
const MaxLayersOfConf = 1000

// Conf is the content of a conf.json of nixpkgs' streamLayeredImage: an image whose plan is made already.
//
// Source: nixpkgs pkgs/build-support/docker/default.nix, streamLayeredImage, and stream_layered_image.py, main.
type Conf struct {
	Architecture  string
	Variant       string
	Config        document.Value
	FromImage     store.Path // "" for none
	StoreLayers   [][]store.Path
	Customisation store.Path
	Name, Tag     string // of repo_tag
	Created       string // as in the image's config
	MTime         int64
	Owner         layer.Owner
	Warnings      []string
}

// confFile has the fields of the file. Older nixpkgs lack some of them. Unknown fields are ignored: a newer nixpkgs has them.
type confFile struct {
	Architecture  string          `json:"architecture"`
	Variant       string          `json:"variant"`
	Config        json.RawMessage `json:"config"`
	OS            string          `json:"os"`
	StoreDir      *string         `json:"store_dir"`
	FromImage     *string         `json:"from_image"`
	StoreLayers   [][]string      `json:"store_layers"`
	Customisation string          `json:"customisation_layer"`
	RepoTag       string          `json:"repo_tag"`
	Created       string          `json:"created"`
	MTime         *string         `json:"mtime"`
	UID           *number         `json:"uid"`
	GID           *number         `json:"gid"`
	Uname         *string         `json:"uname"`
	Gname         *string         `json:"gname"`
}

// number is a number, or a number in a JSON string as nixpkgs writes it.
type number string

func (n *number) UnmarshalJSON(b []byte) error {
	*n = number(strings.Trim(string(b), `"`))
	return nil
}

// LooksLikeConf reports whether a JSON document has the keys of a conf.json.
func LooksLikeConf(b []byte) bool {
	var keys map[string]json.RawMessage
	if json.Unmarshal(b, &keys) != nil {
		return false
	}
	_, layers := keys["store_layers"]
	_, last := keys["customisation_layer"]
	return layers || last
}

// ParseConf reads a conf.json. Errors match [fs.ErrInvalid], or errors.ErrUnsupported for an image that nixreg cannot serve.
func ParseConf(b []byte) (*Conf, error) {
	doc, err := document.Parse(b)
	if err != nil {
		return nil, fmt.Errorf("conf.json: %w", err)
	}
	var f confFile
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, fmt.Errorf("conf.json: %w: %w", err, fs.ErrInvalid)
	}
	c := &Conf{Architecture: f.Architecture, Variant: f.Variant}
	c.Config, _ = doc.Get("config")
	for _, step := range []func(*confFile) error{c.platform, c.paths, c.names, c.times, c.owner} {
		if err := step(&f); err != nil {
			return nil, fmt.Errorf("conf.json: %w", err)
		}
	}
	return c, nil
}

func (c *Conf) platform(f *confFile) error {
	switch {
	case c.Config.Kind != 0 && c.Config.Kind != '{' && c.Config.Text != "null":
		return fmt.Errorf("config is not an object: %w", fs.ErrInvalid)
	case f.OS != "" && f.OS != "linux":
		return fmt.Errorf("os %.50q: only linux images exist: %w", f.OS, errors.ErrUnsupported)
	case f.StoreDir != nil && *f.StoreDir != store.Dir:
		return fmt.Errorf("store_dir %.200q: only %s is served: %w", *f.StoreDir, store.Dir, errors.ErrUnsupported)
	case !oci.IsPlatformWord(f.Architecture):
		return fmt.Errorf("architecture %.50q: %w", f.Architecture, fs.ErrInvalid)
	case f.Variant != "" && !oci.IsPlatformWord(f.Variant):
		return fmt.Errorf("variant %.50q: %w", f.Variant, fs.ErrInvalid)
	}
	if c.Config.Kind == 0 { // absent
		c.Config = document.Value{Kind: '{'}
	}
	return nil
}

func (c *Conf) paths(f *confFile) (err error) {
	if len(f.StoreLayers) > MaxLayersOfConf {
		return fmt.Errorf("%d store layers, at most %d: %w", len(f.StoreLayers), MaxLayersOfConf, fs.ErrInvalid)
	}
	for i, names := range f.StoreLayers {
		if len(names) == 0 {
			return fmt.Errorf("store_layers[%d] is empty: %w", i, fs.ErrInvalid)
		}
		paths := make([]store.Path, len(names))
		for k, name := range names {
			if paths[k], err = StorePath(name); err != nil {
				return fmt.Errorf("store_layers[%d]: %w", i, err)
			}
		}
		c.StoreLayers = append(c.StoreLayers, paths)
	}
	if c.Customisation, err = StorePath(f.Customisation); err != nil {
		return fmt.Errorf("customisation_layer: %w", err)
	}
	if f.FromImage != nil && *f.FromImage != "" {
		if c.FromImage, err = StorePath(*f.FromImage); err != nil {
			return fmt.Errorf("from_image: %w", err)
		}
	}
	return nil
}

// StorePath parses the absolute name of a store path, with nothing after it.
func StorePath(s string) (store.Path, error) {
	p, rest, err := store.ParseAbs(s)
	if err == nil && rest != "" {
		err = fmt.Errorf("%.300q is below a store path, not one itself: %w", s, fs.ErrInvalid)
	}
	return p, err
}

func (c *Conf) names(f *confFile) error {
	c.Name, c.Tag, _ = oci.SplitTag(f.RepoTag)
	if c.Name == "" || c.Tag == "" {
		return fmt.Errorf("repo_tag %.300q is not name:tag: %w", f.RepoTag, fs.ErrInvalid)
	}
	return nil
}

func (c *Conf) times(f *confFile) (err error) {
	if c.Created, _, err = c.time("created", f.Created); err != nil {
		return err
	}
	mtime := f.Created // before nixpkgs 24.11 one value served as both
	if f.MTime != nil {
		mtime = *f.MTime
	}
	_, c.MTime, err = c.time("mtime", mtime)
	return err
}

// time reads a time as Python's datetime.fromisoformat does and returns it as isoformat prints it, and in seconds.
func (c *Conf) time(key, s string) (text string, seconds int64, err error) {
	if s == timeNow {
		c.Warnings = append(c.Warnings, nowWarning(key))
		s = DefaultTime
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return "", 0, fmt.Errorf("%s %.50q is neither a time (such as %s) nor now: %w", key, s, DefaultTime, fs.ErrInvalid)
	}
	layout := "2006-01-02T15:04:05"
	if t.Nanosecond()/1000 != 0 {
		layout += ".000000"
	}
	return t.Format(layout + "-07:00"), t.Unix(), nil
}

// timeNow is the current time. It would give another digest each time, so nixpkgs' default is used instead.
const timeNow = "now"

func nowWarning(key string) string {
	return key + ` is "now", which has no stable digest: taken as ` + DefaultTime
}

func (c *Conf) owner(f *confFile) (err error) {
	c.Owner = layer.Root
	for _, id := range []struct {
		key  string
		text *number
		to   *int64
	}{{"uid", f.UID, &c.Owner.UID}, {"gid", f.GID, &c.Owner.GID}} {
		if id.text == nil {
			continue
		}
		n, err := strconv.ParseInt(string(*id.text), 10, 64)
		if err != nil || n < 0 {
			return fmt.Errorf("%s %.50q is not a number: %w", id.key, *id.text, fs.ErrInvalid)
		}
		*id.to = n
	}
	for _, name := range []struct {
		key  string
		text *string
		to   *string
	}{{"uname", f.Uname, &c.Owner.Uname}, {"gname", f.Gname, &c.Owner.Gname}} {
		if name.text == nil {
			continue
		}
		if strings.ContainsAny(*name.text, "\x00\n") || len(*name.text) > 255 {
			return fmt.Errorf("%s %.50q: %w", name.key, *name.text, fs.ErrInvalid)
		}
		*name.to = *name.text
	}
	return nil
}

// ConfFile returns the conf.json that a stream-<name> script of streamLayeredImage uses: the word of its last exec line that
// ends in -conf.json.
func ConfFile(script []byte) (store.Path, error) {
	const suffix = "-conf.json"
	lines := strings.Split(string(script), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		words := strings.Fields(lines[i])
		if len(words) == 0 || words[0] != "exec" {
			continue
		}
		for _, w := range words[1:] {
			w = strings.Trim(w, `"'`)
			if strings.HasSuffix(w, suffix) {
				return StorePath(w)
			}
		}
		break
	}
	return "", fmt.Errorf("script has no exec line with a %s: not one of streamLayeredImage: %w", suffix, fs.ErrInvalid)
}
