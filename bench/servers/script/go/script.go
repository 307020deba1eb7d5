package main

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

// GET /script for net/http: the suite chooses the events, and your send writes and flushes each
// into the stream that your server has opened.
func script(w http.ResponseWriter, r *http.Request, send func(http.ResponseWriter, event)) {
	var items []struct {
		event
		Delay_ms, Times, Repeat int
		Then                    string
	}
	text := strings.NewReader(r.URL.Query().Get("events"))
	json.NewDecoder(base64.NewDecoder(base64.RawURLEncoding, text)).Decode(&items)
	for _, it := range items {
		if it.Then == "hold" {
			<-r.Context().Done() // Until then the stream stays open and silent.
		}
		if it.Data != nil && it.Times > 1 {
			*it.Data = strings.Repeat(*it.Data, it.Times)
		}
		for n := 0; n == 0 || n < it.Repeat; n++ {
			time.Sleep(time.Duration(it.Delay_ms) * time.Millisecond)
			send(w, it.event)
		}
	}
}
