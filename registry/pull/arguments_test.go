package pull

import "testing"

func TestNixExpression(t *testing.T) {
	image := Arguments{
		ImageName: "nginx", ImageDigest: "sha256:12", Hash: "sha256-34=", FinalImageName: "web", FinalImageTag: "1", OS: "linux", Arch: "amd64", TLSVerify: true,
	}
	five := "pullImage {\n  imageName = \"nginx\";\n  imageDigest = \"sha256:12\";\n  hash = \"sha256-34=\";\n" +
		"  finalImageName = \"web\";\n  finalImageTag = \"1\";\n"
	chosen := image
	chosen.fromIndex = true
	other := image
	other.OS, other.Arch, other.Variant = "windows", "arm", "v7"
	plain := image
	plain.TLSVerify = false
	for name, c := range map[string]struct {
		nameArch bool
		image    Arguments
		more     string
	}{
		"as pullImage has it": {false, image, ""},
		"from an index":       {false, chosen, "  arch = \"amd64\";\n"},
		"asked for":           {true, other, "  os = \"windows\";\n  arch = \"arm\";\n  variant = \"v7\";\n"},
		"without TLS":         {false, plain, "  tlsVerify = false;\n"},
	} {
		if got, want := c.image.Nix(c.nameArch), five+c.more+"}\n"; got != want {
			t.Errorf("%s:\n%swant\n%s", name, got, want)
		}
	}
}
