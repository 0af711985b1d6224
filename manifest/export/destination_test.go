package export

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
)

func TestParseDestination(t *testing.T) {
	for s, want := range map[string]Destination{
		"-":                                   {DockerArchive, "-", ""},
		"docker-archive:-":                    {DockerArchive, "-", ""},
		"docker-archive:-:app:1":              {DockerArchive, "-", "app:1"},
		"docker-archive:/dev/stdout:app:1":    {DockerArchive, "-", "app:1"},
		"docker-archive:/tmp/x.tar":           {DockerArchive, "/tmp/x.tar", ""},
		"docker-archive:x.tar:app":            {DockerArchive, "x.tar", "app:latest"},
		"docker-archive:x.tar:h:5000/a/b:1.2": {DockerArchive, "x.tar", "h:5000/a/b:1.2"},
		"docker-archive:x.tar:h:5000/a":       {DockerArchive, "x.tar", "h:5000/a:latest"},
		"oci:dir":                             {OCI, "dir", ""},
		"oci:dir:1.0":                         {OCI, "dir", "1.0"},
		"oci:dir:app:1.0":                     {OCI, "dir", "app:1.0"},
		"docker://h.example/a/b":              {Docker, "h.example/a/b:latest", ""},
		"docker://localhost:5000/a:1":         {Docker, "localhost:5000/a:1", ""},
		"docker://app":                        {Docker, "docker.io/library/app:latest", ""},
	} {
		if got, err := ParseDestination(s); err != nil || got != want {
			t.Errorf("%s: %v, %v; want %v", s, got, err, want)
		}
	}
	for _, s := range []string{
		"", "x.tar", "docker-archive", "docker-archive:", "docker-archive:x:App:1", "docker-archive:x:app:", "docker-archive:x:app@sha256:" + strings.Repeat("0", 64),
		"oci:", "oci:x:", "oci:x:-", "oci:x:a b", "docker:x", "docker:/x", "docker://", "docker://h/A", "docker://h.example/a@sha256:" + strings.Repeat("0", 64),
		"containers-storage:x", "oci-archive:x",
	} {
		if got, err := ParseDestination(s); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%q: %v, %v", s, got, err)
		}
	}
}

// Who knows skopeo's other transports is told how to come to the same.
func TestOtherTransports(t *testing.T) {
	for s, way := range map[string]string{
		"docker-daemon:app:1": "docker load", "containers-storage:app": "podman load", "oci-archive:x.tar": "tar -C DIR", "dir:x": "oci:DIR",
		"x.tar": "want -, docker-archive:FILE",
	} {
		if _, err := ParseDestination(s); !errors.Is(err, fs.ErrInvalid) || !strings.Contains(err.Error(), way) {
			t.Errorf("%s: %v", s, err)
		}
	}
}

func FuzzParseDestination(f *testing.F) {
	for _, s := range []string{"-", "docker-archive:x.tar:app:1", "oci:dir:tag", "docker://localhost:5000/a:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseDestination(s)
		switch {
		case err != nil && (!errors.Is(err, fs.ErrInvalid) || strings.Contains(err.Error(), "\n")):
			t.Errorf("error is %q", err)
		case err == nil && d.Path == "":
			t.Errorf("nowhere: %v", d)
		case err == nil && d.Transport == DockerArchive && d.Name != "":
			if again, err := ParseDestination("docker-archive:x:" + d.Name); err != nil || again.Name != d.Name {
				t.Errorf("%v is read again as %v, %v", d, again, err)
			}
		case err == nil && d.Transport == Docker:
			if again, err := ParseDestination("docker://" + d.Path); err != nil || again != d {
				t.Errorf("%v is read again as %v, %v", d, again, err)
			}
		}
	})
}
