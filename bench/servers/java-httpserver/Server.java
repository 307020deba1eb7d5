import static java.nio.charset.StandardCharsets.UTF_8;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.io.OutputStream;
import java.net.InetSocketAddress;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executors;
import java.util.concurrent.LinkedBlockingQueue;

public class Server {
    static final Map<String, Set<BlockingQueue<String>>> rooms = new ConcurrentHashMap<>();

    public static void main(String[] args) throws IOException {
        var address = new InetSocketAddress("127.0.0.1", Integer.parseInt(args[0]));
        var server = HttpServer.create(address, 0);
        server.setExecutor(Executors.newCachedThreadPool());
        server.createContext("/ticks", Server::ticks);
        server.createContext("/rooms/", exchange -> {
            var path = exchange.getRequestURI().getPath();
            var room = rooms.computeIfAbsent(path, it -> ConcurrentHashMap.newKeySet());
            if (exchange.getRequestMethod().equals("POST")) say(exchange, room);
            else join(exchange, room);
        });
        server.start();
    }

    static void ticks(HttpExchange exchange) throws IOException {
        try (var out = open(exchange)) {
            for (int n = 1; ; n++) {
                send(out, "tick " + n);
                Thread.sleep(500);
            }
        } catch (InterruptedException end) {
            Thread.currentThread().interrupt();
        }
    }

    static void join(HttpExchange exchange, Set<BlockingQueue<String>> room) throws IOException {
        var messages = new LinkedBlockingQueue<String>();
        room.add(messages);
        try (var out = open(exchange)) {
            while (true) send(out, messages.take());
        } catch (InterruptedException end) {
            Thread.currentThread().interrupt();
        } finally {
            room.remove(messages);
        }
    }

    static void say(HttpExchange exchange, Set<BlockingQueue<String>> room) throws IOException {
        var text = new String(exchange.getRequestBody().readAllBytes(), UTF_8);
        for (var messages : room) messages.add(text);
        exchange.sendResponseHeaders(204, -1);
        exchange.close();
    }

    static OutputStream open(HttpExchange exchange) throws IOException {
        exchange.getResponseHeaders().set("Content-Type", "text/event-stream");
        exchange.getResponseHeaders().set("Cache-Control", "no-cache");
        exchange.sendResponseHeaders(200, 0);
        return exchange.getResponseBody();
    }

    static void send(OutputStream out, String data) throws IOException {
        out.write(("data: " + data + "\n\n").getBytes(UTF_8));
        out.flush();
    }
}
