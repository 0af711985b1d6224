// Package imagefile reads files that define images: YAML or JSON, with the names and defaults of the arguments of
// nixpkgs' streamLayeredImage.
//
// It owns the format, its JSON Schema, and its errors, which name file, line and column. It knows neither what a store
// has, nor how an image is made: a path in a file is checked for its form alone.
//
//	images, err := imagefile.Parse("web.yaml", data)
package imagefile

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Image is one image for one platform, as a file defines it.
//
// Source: nixpkgs pkgs/build-support/docker/default.nix, streamLayeredImage.
type Image struct {
	Name string // as it stands in the file; may have upper case letters, see Repository
	Tag  string // "" if the file has none
	At   Position

	// FromImage is the path of a docker-archive or of an OCI layout, or docker://HOST/REPO@sha256:DIGITS; "" for none.
	// A path that is relative in the file is taken from the file's directory.
	FromImage string
	Contents  []Content       // in order
	Config    json.RawMessage // an object, keys sorted at every depth, as Nix's toJSON writes it; {} if the file has none
	// UnknownKeys are the keys of Config that no client knows, see [ConfigKey]; nil if there are none.
	UnknownKeys map[string]Position

	Architecture string // GOARCH; "" for that of the contents' programs
	Variant      string
	Created      string // RFC 3339, whole seconds in UTC, or now
	MTime        string // as Created
	UID, GID     int64
	Uname, Gname string

	MaxLayers         int
	Layering          Layering
	IncludeStorePaths bool
	IncludeNixDB      bool
	Root              []RootPart // sorted, without duplicates
}

// Repository is the image's name as clients pull it: nixpkgs lowers its letters.
func (i *Image) Repository() string { return strings.ToLower(i.Name) }

// Content is one of an image's contents: the name of a store path, or a package's name, as a client would pull it or as
// it is called as an attribute.
type Content struct {
	Text string // /nix/store/HASH-NAME, nothing below it, or NAME[:TAG]
	At   Position
}

// Position is a place in a file; both count from 1.
type Position struct {
	File         string
	Line, Column int // a column is a character
}

// String is file:line:column.
func (p Position) String() string { return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column) }

// Layering is how store paths are divided into layers.
type Layering string

// The layerings.
const (
	Auto       Layering = "auto"       // by size, nixpkgs' default since 25.05
	Popularity Layering = "popularity" // by popularity, nixpkgs' default before
)

// RootPart is something that programs expect in a root file system, and that packages do not bring.
type RootPart string

// The parts.
const (
	Passwd       RootPart = "passwd"       // /etc/passwd, group, nsswitch.conf with root, nobody, and the User of config
	Tmp          RootPart = "tmp"          // /tmp, mode 1777
	Certificates RootPart = "certificates" // the closure's CA bundle under both usual names
	BinSh        RootPart = "binSh"        // /bin/sh
	UsrBinEnv    RootPart = "usrBinEnv"    // /usr/bin/env
)
