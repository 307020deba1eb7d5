package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"sync"
	"time"
)

var (
	mutex sync.Mutex
	rooms = map[string]map[chan string]bool{}
)

func main() {
	http.HandleFunc("/ticks", ticks)
	http.HandleFunc("/rooms/", func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			say(w, r)
		} else {
			join(w, r)
		}
	})
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], nil))
}

func ticks(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-cache")
	ticker := time.NewTicker(500 * time.Millisecond)
	defer ticker.Stop()
	for n := 1; ; n++ {
		fmt.Fprintf(w, "data: tick %d\n\n", n)
		w.(http.Flusher).Flush()
		select {
		case <-ticker.C:
		case <-r.Context().Done():
			return
		}
	}
}

func join(w http.ResponseWriter, r *http.Request) {
	messages := make(chan string, 16)
	mutex.Lock()
	if rooms[r.URL.Path] == nil {
		rooms[r.URL.Path] = map[chan string]bool{}
	}
	rooms[r.URL.Path][messages] = true
	mutex.Unlock()
	defer func() {
		mutex.Lock()
		delete(rooms[r.URL.Path], messages)
		mutex.Unlock()
	}()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-cache")
	w.(http.Flusher).Flush()
	for {
		select {
		case text := <-messages:
			fmt.Fprintf(w, "data: %s\n\n", text)
			w.(http.Flusher).Flush()
		case <-r.Context().Done():
			return
		}
	}
}

func say(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	mutex.Lock()
	defer mutex.Unlock()
	for messages := range rooms[r.URL.Path] {
		select {
		case messages <- string(text):
		default: // The reader is slow: it loses this message.
		}
	}
	w.WriteHeader(http.StatusNoContent)
}
