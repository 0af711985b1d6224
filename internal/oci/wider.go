package oci

import (
	"regexp"
	"strings"
)

// The names of this file are wider than what a registry takes, on purpose.

// imageName also has upper case: buildImage of nixpkgs makes lower case of an image's name.
var imageName = regexp.MustCompile(`^` + strings.ReplaceAll(repository, "a-z", "A-Za-z") + `$`)

// IsImageName reports whether s is a repository's name but for the case of its letters.
func IsImageName(s string) bool { return len(s) <= MaxName && imageName.MatchString(s) }

const (
	alphanumeric = `[A-Za-z0-9]+`
	refPart      = alphanumeric + `(?:(?:[-._:@+]|--)` + alphanumeric + `)*`
)

var refName = regexp.MustCompile(`^` + refPart + `(?:/` + refPart + `)*$`)

// IsRefName reports whether s is the name of an image in the index of an OCI layout: a tag, or more.
//
// Source: OCI image-spec 1.1, annotations.md, org.opencontainers.image.ref.name.
func IsRefName(s string) bool { return len(s) <= MaxName && refName.MatchString(s) }

// SplitTag parts NAME:TAG, such as localhost:5000/app:v1, at the colon that is no port's. It checks nothing: the names and
// tags that nixpkgs writes into archives and into a conf.json may be what no registry takes. ok is false without a tag.
func SplitTag(s string) (name, tag string, ok bool) {
	if i := strings.LastIndexByte(s, ':'); i > strings.LastIndexByte(s, '/') {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}
