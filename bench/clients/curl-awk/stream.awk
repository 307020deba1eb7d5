# The output of curl --include: heads of interim answers, of redirections and of the stream, then its lines.

BEGIN {
  for (code = 1; code < 32; code++) control[code] = sprintf("%c", code)
  # Characters of UTF-8, and characters without their end.
  tail = "[\200-\277]"
  two = "[\302-\337]"
  three = "(\340[\240-\277]|[\341-\354\356\357]" tail "|\355[\200-\237])"
  four = "(\360[\220-\277]|[\361-\363]" tail "|\364[\200-\217])"
  whole = "^([\001-\177]|" two tail "|" three tail "|" four tail tail ")+"
  part = "^(" three "|" four tail "?)"
}

{ sub(/\r$/, "") }

!body && /^HTTP\// { status = $2; type = "" }
!body && tolower($1) == "content-type:" { type = $2 }
!body && $0 == "" && status == 200 && tolower(type) ~ /^text\/event-stream(;|$)/ {
  body = 1
  print "{\"k\":\"open\"}"
  next
}
# Any other final answer.
!body && $0 == "" && status !~ /^[13]/ { exit 1 }
!body { next }

$0 == "" {
  if (lines) {
    printf "{\"k\":\"event\",\"type\":%s,\"data\":%s,\"id\":%s}\n", json(kind ? kind : "message"), json(data), json(id)
  }
  lines = 0
  data = kind = ""
  next
}
{
  colon = index($0, ":")
  name = colon ? substr($0, 1, colon - 1) : $0
  value = colon ? substr($0, colon + 1) : ""
  sub(/^ /, "", value)
  if (name == "data") data = lines++ ? data "\n" value : value
  if (name == "event") kind = value
  if (name == "id") id = value
}

END { if (!body) exit 1 }

# A mark stands for each character that is cut off, as the standard decodes.
function decoded(text, result) {
  while (text != "") {
    if (match(text, whole)) {
      result = result substr(text, 1, RLENGTH)
    } else {
      if (!match(text, part)) RLENGTH = 1
      result = result "\357\277\275"
    }
    text = substr(text, RLENGTH + 1)
  }
  return result
}

function json(text, code) {
  if (text ~ /[\200-\377]/) text = decoded(text)
  gsub(/\\/, "\\\\\\\\", text)
  gsub(/"/, "\\\"", text)
  for (code in control) {
    if (index(text, control[code])) gsub("[" control[code] "]", sprintf("\\u%04x", code), text)
  }
  return "\"" text "\""
}
