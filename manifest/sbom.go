package manifest

import (
	"encoding/hex"
	"net/url"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nixreg/nixreg/manifest/document"
	"github.com/nixreg/nixreg/manifest/packages"
	"github.com/nixreg/nixreg/store"
)

// Media types of an image's referrers.
const (
	spdxJSON  types.MediaType = "application/spdx+json"
	emptyJSON types.MediaType = "application/vnd.oci.empty.v1+json"
)

// emptyConfig is the config of an artifact that needs no config.
//
// Source: OCI image-spec 1.1, manifest.md, "Guidance for an Empty Descriptor".
const emptyConfig = "{}"

// sbomBytes returns a software bill of materials in SPDX. It has the image, each of its store paths as a package, and the
// references between the paths. It depends on the image and its paths only, so every store gives the same bytes. objects are
// sorted by path.
//
// Source: SPDX 2.3, clauses 6, 7 and 11, and its JSON schema.
func sbomBytes(m *document.Image, objects []*store.Object) []byte {
	within := make(map[store.Path]bool, len(objects))
	for _, o := range objects {
		within[o.Path] = true
	}
	packages := document.List(imagePackage(m))
	relations := document.List(relation("SPDXRef-DOCUMENT", "DESCRIBES", imageID))
	for _, o := range objects {
		packages.Items = append(packages.Items, pathPackage(o))
		relations.Items = append(relations.Items, relation(imageID, "CONTAINS", packageID(o.Path)))
	}
	for _, o := range objects {
		for _, r := range o.References {
			if r != o.Path && within[r] {
				relations.Items = append(relations.Items, relation(packageID(o.Path), "DEPENDS_ON", packageID(r)))
			}
		}
	}
	creation := document.Value{Kind: '{'}
	creation.Set("created", document.String("1970-01-01T00:00:01Z"))
	creation.Set("creators", document.List(document.String("Tool: nixreg")))

	doc := document.Value{Kind: '{'}
	doc.Set("spdxVersion", document.String("SPDX-2.3"))
	doc.Set("dataLicense", document.String("CC0-1.0"))
	doc.Set("SPDXID", document.String("SPDXRef-DOCUMENT"))
	doc.Set("name", document.String(strings.TrimSuffix(m.Title+"-"+m.Version, "-")))
	doc.Set("documentNamespace", document.String("https://spdx.org/spdxdocs/nixreg-"+document.Digest([]byte(m.Title+"\n"+m.Version+"\n"+m.Config.Hex)).Hex))
	doc.Set("creationInfo", creation)
	doc.Set("packages", packages)
	doc.Set("relationships", relations)
	return doc.Compact()
}

const imageID = "SPDXRef-Image"

func packageID(p store.Path) string { return "SPDXRef-Package-" + p.Hash() }

func imagePackage(m *document.Image) document.Value {
	v := spdxPackage(imageID, m.Title, m.Version, m.Config.Hex)
	v.Set("primaryPackagePurpose", document.String("CONTAINER"))
	v.Set("comment", document.String("the checksum is the digest of the image's config, "+m.OS+"/"+m.Architecture))
	return v
}

// pathPackage describes a store path. The checksum is the NAR hash. The package URL has the form that other tools for Nix stores
// use.
func pathPackage(o *store.Object) document.Value {
	name, version := packages.SplitName(o.Path.Name())
	v := spdxPackage(packageID(o.Path), name, version, hex.EncodeToString(o.NarHash[:]))
	locator := "pkg:nix/" + url.QueryEscape(name)
	if version != "" {
		locator += "@" + url.QueryEscape(version)
	}
	v.Set("externalRefs", document.List(
		externalRef("PACKAGE-MANAGER", "purl", locator+"?outputhash="+o.Path.Hash()),
		externalRef("OTHER", "nix-store-path", o.Path.Abs()),
	))
	return v
}

func spdxPackage(id, name, version, sha256 string) document.Value {
	checksum := document.Value{Kind: '{'}
	checksum.Set("algorithm", document.String("SHA256"))
	checksum.Set("checksumValue", document.String(sha256))
	v := document.Value{Kind: '{'}
	v.Set("SPDXID", document.String(id))
	v.Set("name", document.String(name))
	if version != "" {
		v.Set("versionInfo", document.String(version))
	}
	v.Set("downloadLocation", document.String("NOASSERTION"))
	v.Set("filesAnalyzed", document.Value{Kind: 's', Text: "false"})
	v.Set("checksums", document.List(checksum))
	return v
}

func externalRef(category, kind, locator string) document.Value {
	v := document.Value{Kind: '{'}
	v.Set("referenceCategory", document.String(category))
	v.Set("referenceType", document.String(kind))
	v.Set("referenceLocator", document.String(locator))
	return v
}

func relation(from, kind, to string) document.Value {
	v := document.Value{Kind: '{'}
	v.Set("spdxElementId", document.String(from))
	v.Set("relationshipType", document.String(kind))
	v.Set("relatedSpdxElement", document.String(to))
	return v
}

// artifactBytes returns the manifest of an artifact that has one document and refers to subject.
//
// Source: OCI image-spec 1.1, manifest.md, "Guidelines for Artifact Usage".
func artifactBytes(subject, content v1.Descriptor, title string) []byte {
	doc := document.Head(types.OCIManifestSchema1)
	doc.Set("artifactType", document.String(string(content.MediaType)))
	doc.Set("config", document.Reference(v1.Descriptor{
		MediaType: emptyJSON, Digest: document.Digest([]byte(emptyConfig)), Size: int64(len(emptyConfig)),
	}))
	l := document.Reference(content)
	named := document.Value{Kind: '{'}
	named.Set("org.opencontainers.image.title", document.String(title))
	l.Set("annotations", named)
	doc.Set("layers", document.List(l))
	doc.Set("subject", document.Reference(subject))
	return doc.Compact()
}

// referrersBytes returns the index of the referrers of a manifest.
//
// Source: OCI distribution-spec 1.1, "Listing Referrers" and "Referrers Tag Schema".
func referrersBytes(list []v1.Descriptor) []byte {
	doc := document.Head(types.OCIImageIndex)
	entries := document.List()
	for _, d := range list {
		v := document.Reference(d)
		v.Set("artifactType", document.String(d.ArtifactType))
		entries.Items = append(entries.Items, v)
	}
	doc.Set("manifests", entries)
	return doc.Compact()
}
