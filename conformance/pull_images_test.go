package conformance_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// Media types of the images to pull.
const (
	ociConfig      = "application/vnd.oci.image.config.v1+json"
	ociTar         = "application/vnd.oci.image.layer.v1.tar"
	dockerConfig   = "application/vnd.docker.container.image.v1+json"
	dockerTar      = "application/vnd.docker.image.rootfs.diff.tar"
	dockerForeign  = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
	ociForeignGzip = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
)

// pullLayer is a layer of an image to pull: its bytes as the registry has them, and as a container sees them.
type pullLayer struct {
	mediaType string
	blob, tar []byte
}

// plain is a layer with one file.
func plain(mediaType, text string) pullLayer {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: "file-" + text, Mode: 0o644, Size: int64(len(text)), Format: tar.FormatUSTAR}); err != nil {
		panic(err)
	}
	if _, err := w.Write([]byte(text)); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return pullLayer{mediaType: mediaType, blob: b.Bytes(), tar: b.Bytes()}
}

// gzipped compresses a layer, in as many members as there are sizes of the first ones and one for the rest.
func (l pullLayer) gzipped(mediaType string, level int, sizes ...int) pullLayer {
	var b bytes.Buffer
	rest := l.tar
	for _, n := range append(sizes, len(rest)) {
		n = min(n, len(rest))
		z, err := gzip.NewWriterLevel(&b, level)
		if err != nil {
			panic(err)
		}
		if _, err := z.Write(rest[:n]); err != nil {
			panic(err)
		}
		if err := z.Close(); err != nil {
			panic(err)
		}
		rest = rest[n:]
	}
	return pullLayer{mediaType: mediaType, blob: b.Bytes(), tar: l.tar}
}

func (l pullLayer) zstd(mediaType string) pullLayer {
	z, err := zstd.NewWriter(nil)
	if err != nil {
		panic(err)
	}
	return pullLayer{mediaType: mediaType, blob: z.EncodeAll(l.tar, nil), tar: l.tar}
}

// ociGzip and dockerGzip are the layers that most images have.
func ociGzip(text string) pullLayer    { return plain("", text).gzipped(ociTar+"+gzip", 6) }
func dockerGzip(text string) pullLayer { return plain("", text).gzipped(dockerTar+".gzip", 6) }

// image adds an image to a case and returns its descriptor. config is a JSON object in which DIFFIDS stands for the list
// of DiffIDs.
func (c *pullCase) image(mediaType, config string, layers ...pullLayer) string {
	var diffIDs, descriptors []string
	for _, l := range layers {
		diffIDs = append(diffIDs, fmt.Sprintf("%q", sha256Of(l.tar)))
		descriptors = append(descriptors, c.blob(l.mediaType, l.blob))
	}
	configType := dockerConfig
	if mediaType == ociManifest {
		configType = ociConfig
	}
	config = strings.ReplaceAll(config, "DIFFIDS", "["+strings.Join(diffIDs, ",")+"]")
	return c.manifest(mediaType, fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%s]}`,
		mediaType, c.blob(configType, []byte(config)), strings.Join(descriptors, ",")))
}

// index adds an index. An image's platform is JSON, or nothing.
func (c *pullCase) index(mediaType string, images ...[2]string) {
	var all []string
	for _, i := range images {
		d := i[0]
		if i[1] != "" {
			d = strings.TrimSuffix(d, "}") + `,"platform":` + i[1] + "}"
		}
		all = append(all, d)
	}
	c.manifest(mediaType, fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[%s]}`, mediaType, strings.Join(all, ",")))
}

func (c *pullCase) manifest(mediaType, data string) (descriptor string) {
	c.Manifests = append(c.Manifests, pullManifest{mediaType, data})
	c.Digest = sha256Of([]byte(data)) // the last one is what is pulled
	return descriptorOf(mediaType, []byte(data))
}

func (c *pullCase) blob(mediaType string, b []byte) (descriptor string) {
	if !slices.ContainsFunc(c.Blobs, func(other []byte) bool { return bytes.Equal(b, other) }) {
		c.Blobs = append(c.Blobs, b)
	}
	return descriptorOf(mediaType, b)
}

func descriptorOf(mediaType string, b []byte) string {
	return fmt.Sprintf(`{"mediaType":%q,"size":%d,"digest":%q}`, mediaType, len(b), sha256Of(b))
}

func sha256Of(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }

const (
	usualConfig = `{"architecture":"amd64","os":"linux","created":"2020-01-02T03:04:05Z","config":{"Cmd":["/bin/sh"]},"rootfs":{"type":"layers","diff_ids":DIFFIDS}}`
	dockersOwn  = `{"architecture":"amd64","config":{"Hostname":"","Env":["PATH=/bin"],"Cmd":["sh","-c","a && b > c < d"],"Labels":{"é":"\u2028"}},` +
		`"container":"0123456789abcdef","container_config":{"Cmd":["/bin/sh","-c","#(nop) "]},"created":"2020-01-02T03:04:05.123456789Z",` +
		`"docker_version":"20.10.7","history":[{"created_by":"x"},{"created_by":"y","empty_layer":true}],"os":"linux","variant":"v1","rootfs":{"type":"layers","diff_ids":DIFFIDS}}`
	// oddConfig has all that JSON may have and a Go program would not write.
	oddConfig = "{ \"os\" : \"linux\",\n\t\"unknown\": {\"b\": 1e5, \"a\": [ 1.50, null ]}, \"config\": {\"z\": 1.0, \"a\": \"<&>\\u003c\u2028\\/\", \"n\": 12345678901234567890 },\n" +
		"\"created\": null, \"os\": \"linux\", \"Architecture\": \"arm\", \"rootfs\": {\"diff_ids\": DIFFIDS } }\n"
	armConfig = `{"architecture":"arm","variant":"%s","os":"linux","rootfs":{"type":"layers","diff_ids":DIFFIDS}}`
)

// makePullImages makes the images that are checked in as registry/dockerarchive/testdata.
func makePullImages() map[string]*pullCase {
	all := make(map[string]*pullCase)
	add := func(name string, fill func(c *pullCase)) {
		c := &pullCase{OS: "linux", Arch: "amd64", FinalName: "test/" + name, FinalTag: "latest"}
		fill(c)
		all[name] = c
	}
	addUsual(add)
	addRepeated(add)
	addEncoded(add)
	addOdd(add)
	addIndexes(add)
	return all
}

type addImage func(name string, fill func(c *pullCase))

func addUsual(add addImage) {
	add("one-docker", func(c *pullCase) {
		c.FinalName, c.FinalTag = "hello", "1.0"
		c.image(dockerManifest, dockersOwn, dockerGzip("a"))
	})
	add("one-oci", func(c *pullCase) {
		c.FinalName, c.FinalTag = "127.0.0.1:5000/some_tag/x", "A.b-c_d"
		c.image(ociManifest, usualConfig, ociGzip("a"))
	})
	add("many", func(c *pullCase) {
		c.image(ociManifest, dockersOwn, ociGzip("a"), ociGzip("b"), ociGzip("c"), ociGzip("d"), ociGzip("e"), ociGzip("f"))
	})
}

func addRepeated(add addImage) {
	add("repeated", func(c *pullCase) {
		c.image(dockerManifest, usualConfig, dockerGzip("a"), dockerGzip("b"), dockerGzip("a"), dockerGzip("a"), dockerGzip("b"))
	})
	add("repeated-plain", func(c *pullCase) {
		c.image(ociManifest, usualConfig, plain(ociTar, "a"), plain(ociTar, "b"), plain(ociTar, "a"))
	})
	add("repeated-otherwise-compressed", func(c *pullCase) {
		c.image(ociManifest, usualConfig, ociGzip("a"), ociGzip("b"), plain(ociTar, "a"), plain("", "a").gzipped(ociTar+"+gzip", 0))
	})
}

func addEncoded(add addImage) {
	add("plain-docker", func(c *pullCase) {
		c.image(dockerManifest, usualConfig, plain(dockerTar, "a"), plain(dockerTar, "b"))
	})
	add("plain-said-to-be-gzip", func(c *pullCase) {
		c.image(dockerManifest, usualConfig, plain(dockerTar+".gzip", "a"), dockerGzip("b"))
	})
	add("gzip-said-to-be-plain", func(c *pullCase) {
		c.image(ociManifest, usualConfig, plain("", "a").gzipped(ociTar, 6))
	})
	add("gzip-members", func(c *pullCase) {
		c.image(ociManifest, usualConfig, plain("", "a").gzipped(ociTar+"+gzip", 6, 10, 0, 500))
	})
	add("zstd", func(c *pullCase) {
		c.Skopeo = "zstd-said-to-be-gzip" // skopeo 1.9.3 refuses the media type
		c.FinalName = "test/zstd"
		c.image(ociManifest, usualConfig, plain("", "a").zstd(ociTar+"+zstd"), ociGzip("b"))
	})
	add("zstd-said-to-be-gzip", func(c *pullCase) {
		c.FinalName = "test/zstd"
		c.image(ociManifest, usualConfig, plain("", "a").zstd(ociTar+"+gzip"), ociGzip("b"))
	})
}

func addOdd(add addImage) {
	add("no-layers", func(c *pullCase) { c.image(ociManifest, strings.ReplaceAll(usualConfig, "DIFFIDS", "[]")) })
	add("empty-layers", func(c *pullCase) {
		empty := pullLayer{tar: make([]byte, 1024)}
		c.image(ociManifest, dockersOwn, empty.gzipped(ociTar+"+gzip", 6), pullLayer{mediaType: ociTar}, empty.gzipped(ociTar+"+gzip", 6))
	})
	add("odd-config", func(c *pullCase) { c.image(ociManifest, oddConfig, ociGzip("a"), ociGzip("b")) })
	add("foreign", func(c *pullCase) {
		c.image(dockerManifest, usualConfig, dockerGzip("a"), plain("", "b").gzipped(dockerForeign, 6))
	})
	add("foreign-oci", func(c *pullCase) {
		c.image(ociManifest, usualConfig, plain("", "b").gzipped(ociForeignGzip, 6))
	})
	add("other-platform", func(c *pullCase) {
		c.Arch = "s390x"
		c.image(ociManifest, usualConfig, ociGzip("a"))
	})
}

func addIndexes(add addImage) {
	add("index-attested", func(c *pullCase) { // as BuildKit makes them, but for the order
		attestation := c.image(ociManifest, `{"architecture":"unknown","os":"unknown","config":{},"rootfs":{"type":"layers","diff_ids":DIFFIDS}}`,
			pullLayer{mediaType: "application/vnd.in-toto+json", blob: []byte("{}"), tar: []byte("{}")})
		windows := c.image(ociManifest, strings.ReplaceAll(usualConfig, "linux", "windows"), ociGzip("windows"))
		linux := c.image(ociManifest, usualConfig, ociGzip("a"))
		c.index(ociIndex, [2]string{attestation, `{"architecture":"unknown","os":"unknown"}`},
			[2]string{windows, `{"architecture":"amd64","os":"windows","os.version":"10.0.17763.1"}`}, [2]string{linux, `{"architecture":"amd64","os":"linux"}`})
	})
	for _, v := range [][2]string{
		{"amd64", ""}, {"arm64", ""}, {"arm", ""}, {"arm", "v7"}, {"arm", "v6"}, {"arm", "v5"}, {"arm", "v9"}, {"riscv64", ""},
	} {
		for kind, mediaType := range map[string]string{"oci": ociIndex, "docker": dockerList} {
			if kind == "docker" && (v[0] == "riscv64" || v[1] == "v9") {
				continue // skopeo finds none there
			}
			add("index-"+kind+"-"+v[0]+v[1], func(c *pullCase) {
				c.Arch, c.Variant = v[0], v[1]
				makeIndex(c, mediaType)
			})
		}
	}
}

// makeIndex makes an index of images for several platforms, and in that of OCI one that says nothing of its own.
func makeIndex(c *pullCase, mediaType string) {
	amd64 := c.image(ociManifest, usualConfig, ociGzip("amd64"))
	second := c.image(dockerManifest, usualConfig, dockerGzip("amd64 again"))
	v7 := c.image(dockerManifest, fmt.Sprintf(armConfig, "v7"), dockerGzip("v7"))
	v6 := c.image(dockerManifest, fmt.Sprintf(armConfig, "v6"), dockerGzip("v6"))
	v5 := c.image(dockerManifest, fmt.Sprintf(armConfig, "v5"), dockerGzip("v5"))
	arm64 := c.image(dockerManifest, strings.ReplaceAll(usualConfig, "amd64", "arm64"), dockerGzip("arm64"))
	images := [][2]string{
		{v6, `{"architecture":"arm","os":"linux","variant":"v6"}`}, {v5, `{"architecture":"arm","os":"linux","variant":"v5"}`},
		{amd64, `{"architecture":"amd64","os":"linux"}`}, {second, `{"architecture":"amd64","os":"linux"}`},
		{v7, `{"architecture":"arm","os":"linux","variant":"v7"}`}, {arm64, `{"architecture":"arm64","os":"linux","variant":"v8"}`},
	}
	if mediaType == ociIndex {
		images = append(images, [2]string{second, ""})
	}
	c.index(mediaType, images...)
}
