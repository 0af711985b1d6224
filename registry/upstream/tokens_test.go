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
		ts.put(fmt.Sprint(i), "v", 60, now)
	}
	if ts.get("0", now) != "v" { // and so it is the one used last
		t.Fatal("lost")
	}
	ts.put("one more", "v", 60, now)
	if ts.get("0", now) != "v" || ts.get("1", now) != "" || ts.get("one more", now) != "v" || len(ts.byRepo) != maxTokens || ts.order.Len() != maxTokens {
		t.Errorf("%d tokens", ts.order.Len())
	}
	ts.put("0", "w", 60, now)
	ts.drop("0", "v") // another request's, refused too late
	if ts.get("0", now) != "w" {
		t.Error("dropped the new one")
	}
	ts.drop("0", "w")
	if ts.get("0", now) != "" || ts.get("2", now.Add(54*time.Second)) != "" || len(ts.byRepo) != ts.order.Len() {
		t.Error("kept")
	}
}
