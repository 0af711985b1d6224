package dockerarchive

import (
	"encoding/json"
	"fmt"
	"io/fs"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// inherited are the fields of the configuration that the last layer's json takes over; one that is absent is null there.
var inherited = [...]string{"architecture", "config", "container", "container_config", "created", "docker_version", "os"}

// legacyLayer is a layer as an image of Docker's first format, which knew no images but layers with a parent.
type legacyLayer struct {
	id     string
	diffID v1.Hash
	json   []byte
}

// legacyLayers makes them. The json of a layer has its "id" and, but for the lowest one, that of its "parent"; the last
// one has the inherited fields too. The id is the SHA-256 of that JSON with the chain ID as "layer_id" in the place of
// "id". Chain IDs are those of the OCI image specification, config.md, "Layer ChainID".
func legacyLayers(img Image) ([]legacyLayer, error) {
	var config map[string]json.RawMessage
	if err := json.Unmarshal(img.Config, &config); err != nil {
		return nil, fmt.Errorf("configuration: %w: %w", err, fs.ErrInvalid)
	}
	layers := make([]legacyLayer, len(img.Layers))
	var chain, parent string
	for i, l := range img.Layers {
		if chain == "" {
			chain = l.DiffID.String()
		} else {
			chain = "sha256:" + hexSHA256([]byte(chain+" "+l.DiffID.String()))
		}
		fields := make(map[string]any)
		if parent != "" {
			fields["parent"] = parent
		}
		if i == len(img.Layers)-1 {
			for _, name := range inherited {
				fields[name] = config[name]
			}
		}
		var err error
		if layers[i], err = newLegacyLayer(fields, chain); err != nil {
			return nil, err
		}
		layers[i].diffID = l.DiffID
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
	id := hexSHA256(b)
	fields["id"] = id
	b, err = json.Marshal(fields)
	return legacyLayer{id: id, json: b}, err
}
