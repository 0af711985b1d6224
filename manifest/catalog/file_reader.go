package catalog

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"

	"github.com/nixreg/nixreg/manifest/dockertools"
	"github.com/nixreg/nixreg/manifest/draft"
	"github.com/nixreg/nixreg/manifest/fault"
	"github.com/nixreg/nixreg/manifest/imagefile"
	"github.com/nixreg/nixreg/manifest/packages"
	"github.com/nixreg/nixreg/store"
)

// fileReader reads files that are images: a conf.json, a stream-<name> script, an archive or a layout.
type fileReader struct {
	env    *draft.Env
	places *imagePlaces
	log    *slog.Logger
}

// lookupFile returns the definition of a tag from a file that is an image itself, or that has finished images.
func (m *fileReader) lookupFile(ctx context.Context, repository, file, tag string) ([]*draft.Definition, error) {
	if f, err := m.ready(ctx, repository, file); err != nil {
		return nil, err
	} else if f != nil {
		return f.lookup(tag)
	}
	d, err := m.definition(ctx, repository, file)
	if err != nil {
		return nil, err
	}
	if tag != packages.Latest && tag != d.Version {
		return nil, packages.UnknownTag(repository, tag)
	}
	return []*draft.Definition{d}, nil
}

// fileTags returns the tags of such a file, sorted by bytes.
func (m *fileReader) fileTags(ctx context.Context, repository, file string) ([]string, error) {
	if f, err := m.ready(ctx, repository, file); err != nil {
		return nil, err
	} else if f != nil {
		return f.tags(), nil
	}
	d, err := m.definition(ctx, repository, file)
	if err != nil {
		return nil, err
	}
	tags := []string{packages.Latest}
	if own := d.Version; own != packages.Latest && packages.TagName(own) == own {
		tags = append(tags, own)
	}
	slices.Sort(tags)
	return tags, nil
}

// definition reads the file of a repository. The content decides the kind of the file.
func (m *fileReader) definition(ctx context.Context, repository, file string) (*draft.Definition, error) {
	source, conf, err := m.read(ctx, file)
	if pathErr := (*fs.PathError)(nil); errors.As(err, &pathErr) {
		err = pathErr.Err // clients need not know the directory
	}
	if err != nil {
		return nil, fault.OfFile(repository, file, err)
	}
	kind := &draft.Conf{Conf: conf, Source: source, Origin: m.places.path(file)}
	return &draft.Definition{Title: conf.Name, Version: conf.Tag, Kind: kind}, nil
}

func (m *fileReader) read(ctx context.Context, file string) ([]byte, *dockertools.Conf, error) {
	b, err := m.content(ctx, file)
	if err != nil {
		return nil, nil, err
	}
	if isDefinition(file, b) { // it is broken, because a valid one defines other names
		_, err := imagefile.Parse(filepath.Base(file), b)
		if err == nil {
			err = fault.Absent("the file was changed a moment ago")
		}
		return nil, nil, err
	}
	if isScript(b) {
		p, err := dockertools.ConfFile(b)
		if err != nil {
			return nil, nil, err
		}
		if b, err = store.ReadFile(ctx, m.env.Store, p, "", maxConf); err != nil {
			return nil, nil, err
		}
	}
	if text := strings.TrimSpace(string(b)); strings.HasPrefix(text, "{") && !json.Valid(b) {
		_, err := dockertools.ParseConf(b)
		return nil, nil, err
	}
	if !dockertools.LooksLikeConf(b) {
		return nil, nil, fmt.Errorf("neither a definition (called .yaml, .yml, .json, or without a dot), a conf.json or stream-<name> script of nixpkgs' streamLayeredImage, nor a docker-archive or OCI layout: %w", errors.ErrUnsupported)
	}
	conf, err := dockertools.ParseConf(b)
	return b, conf, err
}

// content returns the content of file. The store follows a link into the store, because the path may be in a remote store, and
// because only valid paths count. If file is a link out of --images to a file outside of the store, content returns only a
// definition; for anything else it returns an [outsideError].
func (m *fileReader) content(ctx context.Context, file string) ([]byte, error) {
	at, err := m.places.of(file)
	if err != nil {
		return nil, err
	}
	if p, rest, err := store.ParseAbs(at.name); err == nil {
		return store.ReadFile(ctx, m.env.Store, p, rest, maxConf)
	}
	return at.read()
}
