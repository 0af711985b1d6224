package manifest

import (
	"encoding/hex"
	"net/url"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/nixreg/nixreg/manifest/packages"
	"github.com/nixreg/nixreg/store"
)

// Media types of what is attached to an image.
const (
	spdxJSON  types.MediaType = "application/spdx+json"
	emptyJSON types.MediaType = "application/vnd.oci.empty.v1+json"
)

// emptyConfig is the config of an artifact that needs none.
//
// Source: OCI image-spec 1.1, manifest.md, "Guidance for an Empty Descriptor".
const emptyConfig = "{}"

// sbomBytes is a software bill of materials in SPDX: the image, each store path in it as a package, and what refers to
// what. It depends on the image and its paths alone, so it is the same from every store. objects are sorted by path.
//
// Source: SPDX 2.3, clauses 6, 7 and 11, and its JSON schema.
func sbomBytes(m *Image, objects []*store.Object) []byte {
	within := make(map[store.Path]bool, len(objects))
	for _, o := range objects {
		within[o.Path] = true
	}
	packages := listValue(imagePackage(m))
	relations := listValue(relation("SPDXRef-DOCUMENT", "DESCRIBES", imageID))
	for _, o := range objects {
		packages.items = append(packages.items, pathPackage(o))
		relations.items = append(relations.items, relation(imageID, "CONTAINS", packageID(o.Path)))
	}
	for _, o := range objects {
		for _, r := range o.References {
			if r != o.Path && within[r] {
				relations.items = append(relations.items, relation(packageID(o.Path), "DEPENDS_ON", packageID(r)))
			}
		}
	}
	creation := value{kind: '{'}
	creation.set("created", stringValue("1970-01-01T00:00:01Z"))
	creation.set("creators", listValue(stringValue("Tool: nixreg")))

	doc := value{kind: '{'}
	doc.set("spdxVersion", stringValue("SPDX-2.3"))
	doc.set("dataLicense", stringValue("CC0-1.0"))
	doc.set("SPDXID", stringValue("SPDXRef-DOCUMENT"))
	doc.set("name", stringValue(strings.TrimSuffix(m.Title+"-"+m.Version, "-")))
	doc.set("documentNamespace", stringValue("https://spdx.org/spdxdocs/nixreg-"+digestOf([]byte(m.Title+"\n"+m.Version+"\n"+m.Config.Hex)).Hex))
	doc.set("creationInfo", creation)
	doc.set("packages", packages)
	doc.set("relationships", relations)
	return doc.compact()
}

const imageID = "SPDXRef-Image"

func packageID(p store.Path) string { return "SPDXRef-Package-" + p.Hash() }

func imagePackage(m *Image) value {
	v := spdxPackage(imageID, m.Title, m.Version, m.Config.Hex)
	v.set("primaryPackagePurpose", stringValue("CONTAINER"))
	v.set("comment", stringValue("the checksum is the digest of the image's config, "+m.OS+"/"+m.Architecture))
	return v
}

// pathPackage describes a store path; its checksum is the NAR hash, and its package URL is formed as other tools that
// catalogue Nix stores form theirs.
func pathPackage(o *store.Object) value {
	name, version := packages.SplitName(o.Path.Name())
	v := spdxPackage(packageID(o.Path), name, version, hex.EncodeToString(o.NarHash[:]))
	locator := "pkg:nix/" + url.QueryEscape(name)
	if version != "" {
		locator += "@" + url.QueryEscape(version)
	}
	v.set("externalRefs", listValue(
		externalRef("PACKAGE-MANAGER", "purl", locator+"?outputhash="+o.Path.Hash()),
		externalRef("OTHER", "nix-store-path", o.Path.Abs()),
	))
	return v
}

func spdxPackage(id, name, version, sha256 string) value {
	checksum := value{kind: '{'}
	checksum.set("algorithm", stringValue("SHA256"))
	checksum.set("checksumValue", stringValue(sha256))
	v := value{kind: '{'}
	v.set("SPDXID", stringValue(id))
	v.set("name", stringValue(name))
	if version != "" {
		v.set("versionInfo", stringValue(version))
	}
	v.set("downloadLocation", stringValue("NOASSERTION"))
	v.set("filesAnalyzed", value{kind: 's', text: "false"})
	v.set("checksums", listValue(checksum))
	return v
}

func externalRef(category, kind, locator string) value {
	v := value{kind: '{'}
	v.set("referenceCategory", stringValue(category))
	v.set("referenceType", stringValue(kind))
	v.set("referenceLocator", stringValue(locator))
	return v
}

func relation(from, kind, to string) value {
	v := value{kind: '{'}
	v.set("spdxElementId", stringValue(from))
	v.set("relationshipType", stringValue(kind))
	v.set("relatedSpdxElement", stringValue(to))
	return v
}

// artifactBytes is the manifest of one document that refers to subject.
//
// Source: OCI image-spec 1.1, manifest.md, "Guidelines for Artifact Usage".
func artifactBytes(subject, content v1.Descriptor, title string) []byte {
	doc := head(types.OCIManifestSchema1)
	doc.set("artifactType", stringValue(string(content.MediaType)))
	doc.set("config", descriptorValue(v1.Descriptor{
		MediaType: emptyJSON, Digest: digestOf([]byte(emptyConfig)), Size: int64(len(emptyConfig)),
	}))
	l := descriptorValue(content)
	named := value{kind: '{'}
	named.set("org.opencontainers.image.title", stringValue(title))
	l.set("annotations", named)
	doc.set("layers", listValue(l))
	doc.set("subject", descriptorValue(subject))
	return doc.compact()
}

// referrersBytes is the index of what refers to a manifest.
//
// Source: OCI distribution-spec 1.1, "Listing Referrers" and "Referrers Tag Schema".
func referrersBytes(list []v1.Descriptor) []byte {
	doc := head(types.OCIImageIndex)
	entries := listValue()
	for _, d := range list {
		v := descriptorValue(d)
		v.set("artifactType", stringValue(d.ArtifactType))
		entries.items = append(entries.items, v)
	}
	doc.set("manifests", entries)
	return doc.compact()
}
