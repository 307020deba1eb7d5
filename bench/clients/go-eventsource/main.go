// donovanhide/eventsource, as Debian ships it.
package main

import (
	"net/http"
	"os/exec"

	"github.com/donovanhide/eventsource"

	protocol "../go"
)

const debianPackage = "golang-github-donovanhide-eventsource-dev"

func main() {
	protocol.Describe("go-eventsource", version, "R", "Hd", "Bd", "Id", "Gz", "Ch")
	closing := make(chan struct{}, 8)
	protocol.OnClose(func() { closing <- struct{}{} })
	run(closing)
	protocol.Closed()
	select {}
}

func run(closing <-chan struct{}) {
	client := &http.Client{Transport: reporter{}}
	// The first attempt is the only one that fails for good.
	stream, err := eventsource.SubscribeWith(protocol.Options.LastEventID, client, protocol.Request())
	if err != nil {
		protocol.Error(err, true)
		return
	}
	defer stream.Close()
	events := 0
	for {
		select {
		case event := <-stream.Events:
			protocol.Event(event.Event(), event.Data(), event.Id())
			if events++; events == protocol.Options.CloseAfterEvents {
				return
			}
		case err := <-stream.Errors:
			protocol.Error(err, false)
		case <-closing:
			return
		}
	}
}

// The library does not say when it is connected.
type reporter struct{}

func (reporter) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := http.DefaultTransport.RoundTrip(request)
	if err == nil && response.StatusCode == http.StatusOK {
		protocol.Open()
	}
	return response, err
}

func version() string {
	version, err := exec.Command("dpkg-query", "--show", "--showformat", "${Version}", debianPackage).Output()
	if err != nil {
		panic(err)
	}
	return string(version)
}
