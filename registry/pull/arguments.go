package pull

import (
	"fmt"
	"strings"
)

// Arguments are the arguments of nixpkgs' pullImage that make the same archive.
type Arguments struct {
	ImageName      string `json:"imageName"`
	ImageDigest    string `json:"imageDigest"`
	Hash           string `json:"hash"`
	FinalImageName string `json:"finalImageName"`
	FinalImageTag  string `json:"finalImageTag"`
	OS             string `json:"os"`
	Arch           string `json:"arch"`
	Variant        string `json:"variant,omitempty"`
	TLSVerify      bool   `json:"tlsVerify"`

	fromIndex bool
}

// NewArguments returns the arguments for the archive that Pull wrote.
func NewArguments(r Request, result *Result, tlsVerify bool) Arguments {
	return Arguments{
		ImageName: r.Image.Familiar, ImageDigest: result.Digest.String(), Hash: result.Hash,
		FinalImageName: r.FinalName, FinalImageTag: r.FinalTag,
		OS: r.Platform.OS, Arch: r.Platform.Architecture, Variant: r.Platform.Variant,
		TLSVerify: tlsVerify,
		fromIndex: result.Digest != result.Manifest,
	}
}

// Nix returns the expression. It states the platform where the hash depends on it, so that the expression is right on all
// machines: an operating system other than linux, a variant, and the architecture of an image of an index. nameArch adds the
// architecture in any case. No string needs an escape, because ParseReference and Pull refuse such names.
func (a Arguments) Nix(nameArch bool) string {
	var b strings.Builder
	b.WriteString("pullImage {\n")
	attribute := func(name, value string, wanted bool) {
		if wanted {
			fmt.Fprintf(&b, "  %s = \"%s\";\n", name, value)
		}
	}
	attribute("imageName", a.ImageName, true)
	attribute("imageDigest", a.ImageDigest, true)
	attribute("hash", a.Hash, true)
	attribute("finalImageName", a.FinalImageName, true)
	attribute("finalImageTag", a.FinalImageTag, true)
	attribute("os", a.OS, a.OS != "linux")
	attribute("arch", a.Arch, a.fromIndex || nameArch)
	attribute("variant", a.Variant, a.Variant != "")
	if !a.TLSVerify {
		b.WriteString("  tlsVerify = false;\n")
	}
	b.WriteString("}\n")
	return b.String()
}
