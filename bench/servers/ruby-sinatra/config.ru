require "json"
require "sinatra/base"
require "timeout"

class Server < Sinatra::Base
  set :rooms, Hash.new { |rooms, name| rooms[name] = [] }

  get "/ticks", provides: "text/event-stream" do
    stream do |out|
      (1..).each do |n|
        out << "data: tick #{n}\n\n"
        sleep 0.5
      end
    end
  end

  get "/rooms/:name", provides: "text/event-stream" do
    room = settings.rooms[params[:name]]
    messages = Queue.new
    room << messages
    stream do |out|
      loop do
        out << "data: #{JSON.generate(Timeout.timeout(5) { messages.pop })}\n\n"
      rescue Timeout::Error # A write is the only way to notice a reader that has gone.
        out << ": still here\n\n"
      end
    ensure
      room.delete(messages)
    end
  end

  post "/rooms/:name" do
    message = JSON.parse(request.body.read)
    settings.rooms[params[:name]].each { |messages| messages << message }
    204
  end
end

run Server
