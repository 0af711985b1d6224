package upstream

import (
	"fmt"
	"testing"
	"time"
)

func TestTokensAreBounded(t *testing.T) {
	var ts tokens
	now := time.Unix(0, 0)
	for i := range maxTokens {
		ts.put(access{repo: fmt.Sprint(i)}, "v", 60, now)
	}
	if ts.get(access{repo: "0"}, now) != "v" { // and so it is the one used last
		t.Fatal("lost")
	}
	ts.put(access{repo: "one more"}, "v", 60, now)
	if ts.get(access{repo: "0"}, now) != "v" || ts.get(access{repo: "1"}, now) != "" || ts.get(access{repo: "one more"}, now) != "v" || len(ts.byRepo) != maxTokens || ts.order.Len() != maxTokens {
		t.Errorf("%d tokens", ts.order.Len())
	}
	ts.put(access{repo: "0"}, "w", 60, now)
	ts.drop("0", "v") // another request's, refused too late
	if ts.get(access{repo: "0"}, now) != "w" {
		t.Error("dropped the new one")
	}
	ts.drop("0", "w")
	if ts.get(access{repo: "0"}, now) != "" || ts.get(access{repo: "2"}, now.Add(54*time.Second)) != "" || len(ts.byRepo) != ts.order.Len() {
		t.Error("kept")
	}
	ts.put(access{"a", "x"}, "v", 60, now)
	if ts.get(access{repo: "a"}, now) != "v" || ts.get(access{"a", "x"}, now) != "v" || ts.get(access{"a", "y"}, now) != "" {
		t.Error("a token is not for what it was given for")
	}
}
