package export

import (
	"strings"

	"github.com/nixreg/nixreg/internal/errkind"
	"github.com/nixreg/nixreg/internal/oci"
)

// Transport is a kind of destination.
type Transport string

// The transports, by their names in skopeo.
const (
	DockerArchive Transport = "docker-archive"
	OCI           Transport = "oci"
	Docker        Transport = "docker"
)

// Destination is the place that an image is exported to.
type Destination struct {
	Transport Transport
	// Path is a file or "-" for standard output, the directory of an OCI layout, or HOST/REPO:TAG of a registry.
	Path string
	// Name is NAME:TAG in a docker-archive, or the image's name in an OCI layout. It may be "".
	Name string
}

const forms = "-, docker-archive:FILE[:NAME:TAG], oci:DIR[:TAG] or docker://HOST/REPO[:TAG]"

// ParseDestination parses a destination in skopeo's syntax. "-" and docker-archive:/dev/stdout mean docker-archive:-. It checks
// names and opens no file. Errors match [io/fs.ErrInvalid].
//
// Source: containers-transports(5).
func ParseDestination(s string) (Destination, error) {
	if s == "-" {
		return Destination{Transport: DockerArchive, Path: "-"}, nil
	}
	transport, rest, _ := strings.Cut(s, ":")
	switch Transport(transport) {
	case DockerArchive:
		return parseArchive(s, rest)
	case OCI:
		return parseLayout(s, rest)
	case Docker:
		return parseTarget(s, rest)
	}
	if way, ok := waysTo[transport]; ok {
		return Destination{}, errkind.Invalid("destination %.300q: %s is not supported: use %s", s, transport, way)
	}
	return Destination{}, errkind.Invalid("destination %.300q: want %s", s, forms)
}

// waysTo tell how to reach skopeo's other transports.
var waysTo = map[string]string{
	"containers-storage": "docker-archive:- | podman load",
	"dir":                "oci:DIR[:TAG], which skopeo copies to dir:",
	"docker-daemon":      "docker-archive:-[:NAME:TAG] | docker load",
	"oci-archive":        "oci:DIR[:TAG], then tar -C DIR -cf FILE .",
}

func parseArchive(s, rest string) (Destination, error) {
	file, repoTag, named := strings.Cut(rest, ":")
	if file == "" {
		return Destination{}, errkind.Invalid("destination %.300q: want docker-archive:FILE[:NAME:TAG]", s)
	}
	if file == "/dev/stdout" { // skopeo has no "-", so its users write this
		file = "-"
	}
	d := Destination{Transport: DockerArchive, Path: file}
	if !named {
		return d, nil
	}
	ref, err := oci.ParseReference(repoTag)
	if err != nil || ref.Digest != "" {
		return Destination{}, errkind.Invalid("destination %.300q: %.300q is not NAME:TAG", s, repoTag)
	}
	d.Name = ref.Familiar + ":" + ref.Tag
	return d, nil
}

func parseLayout(s, rest string) (Destination, error) {
	dir, image, named := strings.Cut(rest, ":")
	if dir == "" || named && !oci.IsRefName(image) {
		return Destination{}, errkind.Invalid("destination %.300q: want oci:DIR[:TAG]", s)
	}
	return Destination{Transport: OCI, Path: dir, Name: image}, nil
}

func parseTarget(s, rest string) (Destination, error) {
	ref, ok := strings.CutPrefix(rest, "//")
	if !ok {
		return Destination{}, errkind.Invalid("destination %.300q: want docker://HOST/REPO[:TAG]", s)
	}
	parsed, err := oci.ParseReference(ref)
	if err != nil || parsed.Digest != "" {
		return Destination{}, errkind.Invalid("destination %.300q: want docker://HOST/REPO[:TAG], in lower case and without a digest", s)
	}
	return Destination{Transport: Docker, Path: parsed.String()}, nil
}
