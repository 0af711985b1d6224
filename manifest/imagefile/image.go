// Package imagefile reads files that define images: YAML or JSON, with the names and defaults of the arguments of
// nixpkgs' streamLayeredImage.
//
// It owns the format, its JSON Schema, and its errors, which name file, line and column. It must not know stores, nor how images
// are made. It checks the form of a path, not the file.
//
//	images, err := imagefile.Parse("web.yaml", data)
package imagefile

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Image is the definition of an image for one platform.
//
// Source: nixpkgs pkgs/build-support/docker/default.nix, streamLayeredImage.
type Image struct {
	Name string // as in the file; may have upper case letters, see Repository
	Tag  string // "" if the file has none
	At   Position

	// FromImage is the path of a docker-archive or of an OCI layout, or docker://HOST/REPO@sha256:DIGITS; "" for none.
	// A relative path starts at the directory of the file.
	FromImage string
	Contents  []Content       // in order
	Config    json.RawMessage // an object, in the form of Nix's toJSON, keys sorted; {} if the file has none
	// UnknownKeys are the keys of Config that clients do not know, see [ConfigKey]. It may be nil.
	UnknownKeys map[string]Position

	Architecture string // GOARCH; "" for the architecture of the programs of Contents
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

// Repository returns the name that clients pull. nixpkgs makes it lower case.
func (i *Image) Repository() string { return strings.ToLower(i.Name) }

// Content is an element of an image's contents: a store path, the name of a package as in docker pull, or an attribute path.
type Content struct {
	Text string // /nix/store/HASH-NAME, never below it, or NAME[:TAG]
	At   Position
}

// Position is a place in a file. Line and Column count from 1.
type Position struct {
	File         string
	Line, Column int // columns count characters
}

// String returns file:line:column.
func (p Position) String() string { return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column) }

// Layering is the rule that divides store paths into layers.
type Layering string

// The layerings.
const (
	Auto       Layering = "auto"       // by size, nixpkgs' default since 25.05
	Popularity Layering = "popularity" // by popularity, nixpkgs' default before
	Shared     Layering = "shared"     // nixpkgs' layers in an order that images share

	// Nixpkgs is another word for Auto in definitions and settings.
	Nixpkgs Layering = "nixpkgs"
)

// RootPart is a part of a root file system that programs expect and packages do not have.
type RootPart string

// The parts.
const (
	Passwd       RootPart = "passwd"       // /etc/passwd, group, nsswitch.conf with root, nobody, and the User of config
	Tmp          RootPart = "tmp"          // /tmp, mode 1777
	Certificates RootPart = "certificates" // the CA bundle of the closure under both usual names
	BinSh        RootPart = "binSh"        // /bin/sh
	UsrBinEnv    RootPart = "usrBinEnv"    // /usr/bin/env
	Home         RootPart = "home"         // the home directory of the User of config, which is its own
	OSRelease    RootPart = "osRelease"    // /etc/os-release
)
