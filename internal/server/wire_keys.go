package server

import "github.com/nixreg/nixreg/store/binarycache"

// PublicKey is a trusted signing key of a binary cache.
type PublicKey = binarycache.PublicKey

func parseKeys(texts ...string) (keys []PublicKey, err error) {
	for _, s := range texts {
		key, err := binarycache.ParsePublicKey(s)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// ParsePublicKey parses NAME:BASE64, as Nix writes keys.
func ParsePublicKey(s string) (PublicKey, error) { return binarycache.ParsePublicKey(s) }
