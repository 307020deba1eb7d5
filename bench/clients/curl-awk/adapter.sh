#!/bin/bash
# An event stream in a shell: curl reads it, awk takes its lines apart.

if [[ $1 == --describe ]]; then
  version=$(curl --version | mawk '{ print $2; exit }')
  echo '{"name":"curl-awk","version":"'"$version"'","capabilities":[]}'
  exit
fi

# --include puts the head before the body: it says whether there is a stream at all. Both programs would wait for a full
# buffer, and curl holds the head back even with --no-buffer.
exec 3< <(exec stdbuf --output=0 curl --silent --include --location --header 'Accept: text/event-stream' \
  --header 'Cache-Control: no-cache' "$1")
curl=$!

{
  LC_ALL=C mawk -W interactive -f stream.awk <&3 || echo '{"k":"error","fatal":true}'
  echo '{"k":"closed"}'
} &

# The one command is to close.
while read -r; do
  kill $curl
done 2>/dev/null
kill $curl 2>/dev/null
