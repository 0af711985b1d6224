package upstream

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nixreg/nixreg/internal/lru"
)

func TestTokensAreBounded(t *testing.T) {
	ts := tokens{lru.Cache[string, token]{Max: maxTokens}}
	now := time.Unix(0, 0)
	large := strings.Repeat("v", maxTokens/4-2*lru.Overhead)
	for i := range 4 {
		ts.put(access{repo: fmt.Sprint(i)}, large, 60, now)
	}
	if ts.get(access{repo: "0"}, now) != large { // so it is the one used last
		t.Fatal("lost")
	}
	ts.put(access{repo: "one more"}, large, 60, now)
	if ts.get(access{repo: "0"}, now) != large || ts.get(access{repo: "1"}, now) != "" || ts.get(access{repo: "one more"}, now) != large {
		t.Error("the wrong one went")
	}
	if weight := ts.byRepo.Weight(); weight > maxTokens {
		t.Errorf("%d bytes", weight)
	}
	ts.put(access{repo: "2"}, "v", 60, now)
	ts.put(access{repo: "0"}, "w", 60, now)
	ts.drop("0", "v") // another request's, refused too late
	if ts.get(access{repo: "0"}, now) != "w" {
		t.Error("dropped the new one")
	}
	ts.drop("0", "w")
	if ts.get(access{repo: "0"}, now) != "" || ts.get(access{repo: "2"}, now.Add(54*time.Second)) != "" {
		t.Error("kept")
	}
	ts.put(access{"a", "x"}, "v", 60, now)
	if ts.get(access{repo: "a"}, now) != "v" || ts.get(access{"a", "x"}, now) != "v" || ts.get(access{"a", "y"}, now) != "" {
		t.Error("a token is not for what it was given for")
	}
}
