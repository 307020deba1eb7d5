<?php

$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
if ($path !== '/ticks' && !preg_match('#^/rooms/[\w-]+$#', $path)) {
    http_response_code(404);
    exit;
}
// Processes share no memory: a room is a file, a message a line of it.
$file = sys_get_temp_dir() . "/php-cli-server-{$_SERVER['SERVER_PORT']}-" . basename($path);

if ($_SERVER['REQUEST_METHOD'] === 'POST') {
    $message = json_encode(json_decode(file_get_contents('php://input')));
    file_put_contents($file, "$message\n", FILE_APPEND | LOCK_EX);
    http_response_code(204);
    exit;
}

header('Content-Type: text/event-stream');
header('Cache-Control: no-cache');
set_time_limit(0);
while (ob_get_level() > 0) {
    ob_end_clean(); // output_buffering of php.ini would hold the events back.
}
flush();

if ($path === '/ticks') {
    for ($n = 1; !connection_aborted(); $n++) {
        echo "id: $n\ndata: tick $n\n\n";
        flush();
        usleep(500_000);
    }
    exit;
}

$lines = fopen($file, 'a+');
fseek($lines, 0, SEEK_END);
for ($n = 1; !connection_aborted(); $n++) {
    while (($line = fgets($lines)) !== false) {
        echo 'data: ' . rtrim($line, "\n") . "\n\n";
    }
    if ($n % 20 === 0) {
        echo ": still here\n\n"; // A write is the only way to notice a reader that has gone.
    }
    fseek($lines, 0, SEEK_CUR); // Forgets the end of the file.
    flush();
    usleep(50_000);
}
