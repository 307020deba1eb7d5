// A server with its own way of sending events, which the suite sees through /script: go run . PORT
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
	"regexp"
	"time"
)

// An event of any of these; nil is no such field.
type event struct {
	ID, Event, Data, Comment *string
	Retry                    *int
}

var (
	lineEnd = regexp.MustCompile("\r\n|\r|\n")
	// A field that has one line must not have it: a line end would begin another field.
	forbidden = regexp.MustCompile("[\r\n\x00]")
)

func open(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-cache")
	w.(http.Flusher).Flush()
}

func send(w http.ResponseWriter, e event) {
	lines(w, "", e.Comment)
	if e.Event != nil {
		fmt.Fprintf(w, "event: %s\n", forbidden.ReplaceAllString(*e.Event, " "))
	}
	lines(w, "data", e.Data)
	if e.ID != nil {
		fmt.Fprintf(w, "id: %s\n", forbidden.ReplaceAllString(*e.ID, " "))
	}
	if e.Retry != nil {
		fmt.Fprintf(w, "retry: %d\n", *e.Retry)
	}
	fmt.Fprint(w, "\n")
	w.(http.Flusher).Flush()
}

// A line for each line of the value.
func lines(w http.ResponseWriter, field string, value *string) {
	if value != nil {
		for _, line := range lineEnd.Split(*value, -1) {
			fmt.Fprintf(w, "%s: %s\n", field, line)
		}
	}
}

func ticks(w http.ResponseWriter, r *http.Request) {
	open(w)
	name := "tick"
	for r.Context().Err() == nil {
		now := time.Now().String()
		send(w, event{Event: &name, Data: &now})
		time.Sleep(500 * time.Millisecond)
	}
}

func main() {
	http.HandleFunc("/ticks", ticks)
	// In tests only: it lets any client choose what your server sends.
	http.HandleFunc("/script", func(w http.ResponseWriter, r *http.Request) {
		open(w)
		script(w, r, send)
	})
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], nil))
}
