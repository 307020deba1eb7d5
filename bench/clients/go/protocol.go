// Package protocol is shared by the adapters in Go: the protocol with the harness.
package protocol

import (
	"bufio"
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"unicode/utf8"
)

// Options are what a case asks for.
var Options struct {
	Method           string
	Body             string
	Headers          map[string]string
	LastEventID      string
	CloseAfterEvents int
}

// Describe prints what a client is, if the harness asks for that. Else it reads the options of the case.
func Describe(name string, version func() string, capabilities ...string) {
	if URL() == "--describe" {
		print(map[string]any{"name": name, "version": version(), "capabilities": capabilities})
		os.Exit(0)
	}
	if text := os.Getenv("SSE_CASE_OPTIONS"); text != "" {
		if err := json.Unmarshal([]byte(text), &Options); err != nil {
			panic(err)
		}
	}
}

// URL is the last argument.
func URL() string {
	return os.Args[len(os.Args)-1]
}

// Request is what a case asks for.
func Request() *http.Request {
	request, err := http.NewRequest(Options.Method, URL(), strings.NewReader(Options.Body))
	if err != nil {
		panic(err)
	}
	for name, value := range Options.Headers {
		request.Header.Set(name, value)
	}
	return request
}

// OnClose calls run when the client has to close. At the end of stdin the adapter ends.
func OnClose(run func()) {
	go func() {
		for commands := bufio.NewScanner(os.Stdin); commands.Scan(); {
			run()
		}
		os.Exit(0)
	}()
}

// Open reports an open stream.
func Open() {
	print(map[string]any{"k": "open"})
}

// Event reports an event.
func Event(kind, data, id string) {
	if kind == "" {
		kind = "message"
	}
	print(map[string]any{"k": "event", "type": kind, "data": text(data), "id": id})
}

// Error reports a failure, and says why on stderr.
func Error(err error, fatal bool) {
	os.Stderr.WriteString(err.Error() + "\n")
	print(map[string]any{"k": "error", "fatal": fatal})
}

// Closed reports that it is over for good.
func Closed() {
	print(map[string]any{"k": "closed"})
}

func print(record map[string]any) {
	line, err := json.Marshal(record)
	if err != nil {
		panic(err)
	}
	os.Stdout.Write(append(line, '\n'))
}

// text puts a mark for each character that is cut off, as the standard's decoder does. Strings of Go are bytes, and json
// would put a mark for each byte.
func text(bytes string) string {
	var text strings.Builder
	for len(bytes) > 0 {
		char, size := utf8.DecodeRuneInString(bytes)
		if char == utf8.RuneError && size == 1 {
			for size < 3 && size < len(bytes) && !utf8.FullRuneInString(bytes[:size+1]) {
				size++
			}
		}
		text.WriteRune(char)
		bytes = bytes[size:]
	}
	return text.String()
}
