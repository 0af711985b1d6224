package dockerarchive

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// inherited are the fields that the json of the last layer copies from the configuration. An absent field is null.
var inherited = [...]string{"architecture", "config", "container", "container_config", "created", "docker_version", "os"}

// legacyLayer is a layer in Docker's first image format, in which an image was a layer with a parent.
type legacyLayer struct {
	id     string
	diffID v1.Hash
	json   []byte
}

// legacyLayers returns the legacy layers of an image with these layers. The json of a layer has its "id" and, except for the bottom layer, the id
// of its "parent". The last layer has the inherited fields, too. The id is the SHA-256 of the same JSON with the chain ID as
// "layer_id" instead of "id".
//
// Source: chain IDs: OCI image-spec 1.1, config.md, "Layer ChainID".
func legacyLayers(configuration []byte, diffIDs []v1.Hash) ([]legacyLayer, error) {
	var config map[string]json.RawMessage
	if err := json.Unmarshal(configuration, &config); err != nil {
		return nil, fmt.Errorf("configuration: %w: %w", err, fs.ErrInvalid)
	}
	layers := make([]legacyLayer, len(diffIDs))
	var chain, parent string
	for i, diffID := range diffIDs {
		if chain == "" {
			chain = diffID.String()
		} else {
			chain = fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(chain+" "+diffID.String())))
		}
		fields := make(map[string]any)
		if parent != "" {
			fields["parent"] = parent
		}
		if i == len(diffIDs)-1 {
			for _, name := range inherited {
				fields[name] = config[name]
			}
		}
		var err error
		if layers[i], err = newLegacyLayer(fields, chain); err != nil {
			return nil, err
		}
		layers[i].diffID = diffID
		parent = layers[i].id
	}
	return layers, nil
}

func newLegacyLayer(fields map[string]any, chain string) (legacyLayer, error) {
	fields["layer_id"] = chain
	b, err := json.Marshal(fields)
	if err != nil {
		return legacyLayer{}, err
	}
	delete(fields, "layer_id")
	id := fmt.Sprintf("%x", sha256.Sum256(b))
	fields["id"] = id
	b, err = json.Marshal(fields)
	return legacyLayer{id: id, json: b}, err
}
