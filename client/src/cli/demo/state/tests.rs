use super::*;

pub(crate) fn packages() -> Vec<Package> {
    let package = |name: &str| Package {
        name: format!("sse-{name}"),
        folder: format!("/x/{name}").into(),
        framework: name.to_owned(),
    };
    vec![package("one"), package("two"), package("three")]
}

fn app() -> App {
    App::new(packages(), &[0], false, false)
}

fn press(app: &mut App, keys: &str) -> Vec<Effect> {
    let mut effects = Vec::new();
    for c in keys.chars() {
        let code = match c {
            '\n' => KeyCode::Enter,
            '\x1b' => KeyCode::Esc,
            '\x08' => KeyCode::Backspace,
            '↑' => KeyCode::Up,
            c => KeyCode::Char(c),
        };
        effects.extend(app.update(Timestamp::UNIX_EPOCH, Message::Key(KeyEvent::from(code))));
    }
    effects
}

fn event(id: &str) -> Saw {
    Saw::Event(MessageEvent { event: "message".into(), data: "x".into(), last_event_id: id.into() })
}

fn saw(app: &mut App, saw: Saw) {
    app.update(Timestamp::UNIX_EPOCH, Message::Saw(0, saw));
}

#[test]
fn keys_ask_for_what_they_say() {
    let mut app = app();
    assert_eq!(press(&mut app, "dr"), [Effect::Drop, Effect::Restart]);
    assert_eq!(press(&mut app, "ss"), [Effect::Switch(1), Effect::Switch(2)]);
    assert_eq!(press(&mut app, "s"), [Effect::Switch(0)]);
    let opened: Vec<_> = Scenario::ALL.map(Effect::Open).into();
    assert_eq!(press(&mut app, "12345"), opened);
    assert_eq!(press(&mut app, "xyz0678"), []);
    assert!(!app.is_over());
    press(&mut app, "q");
    assert!(app.is_over());
}

#[test]
fn control_c_ends_it_even_while_typing() {
    let mut app = app();
    press(&mut app, "m");
    let key = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    app.update(Timestamp::UNIX_EPOCH, Message::Key(key));
    assert!(app.is_over());
}

#[test]
fn keys_with_alt_or_control_do_nothing_else() {
    let mut app = app();
    for modifiers in [KeyModifiers::ALT, KeyModifiers::CONTROL] {
        let key = KeyEvent::new(KeyCode::Char('d'), modifiers);
        assert_eq!(app.update(Timestamp::UNIX_EPOCH, Message::Key(key)), []);
    }
}

#[test]
fn a_typed_message_is_sent_and_keys_in_it_do_nothing_else() {
    let mut app = app();
    let effects = press(&mut app, "mquitx\x08\nsecond\n\n");
    let sent = |text: &str| Effect::Send(text.to_owned());
    assert_eq!(effects, [Effect::Open(Scenario::Messages), sent("quit"), sent("second")]);
    assert_eq!(app.typed, None, "an empty line ends the typing");
    assert_eq!(press(&mut app, "ma\x1b"), [], "the topic is open, and nothing was sent");
    press(&mut app, "m");
    press(&mut app, &"x".repeat(300));
    assert_eq!(app.typed.as_ref().unwrap().len(), MAX_TYPED_CHARS);
}

#[test]
fn lost_events_are_counted_across_connections() {
    let mut app = app();
    for id in ["1", "2"] {
        saw(&mut app, event(id));
    }
    saw(&mut app, Saw::Lost { reason: "gone".into(), after: Duration::from_secs(1) });
    assert_eq!(app.lanes[0].client, Phase::Waiting);
    saw(&mut app, Saw::Head(200));
    saw(&mut app, event("3"));
    assert_eq!((app.lanes[0].events, app.lanes[0].lost), (3, 0));
    saw(&mut app, event("6"));
    assert_eq!(app.lanes[0].lost, 2);
    // Another epoch counts anew, and so does another stream.
    for id in ["a-1", "b-7", "b-8"] {
        saw(&mut app, event(id));
    }
    assert_eq!(app.lanes[0].lost, 2);
    press(&mut app, "2");
    assert_eq!((app.lanes[0].events, app.lanes[0].lost), (0, 0));
}

#[test]
fn scrolling_pauses_and_new_rows_do_not_move_what_one_looks_at() {
    let mut app = app();
    for n in 0..50 {
        saw(&mut app, event(&n.to_string()));
    }
    press(&mut app, "↑↑");
    assert!(app.is_paused);
    assert_eq!(app.back, 2);
    saw(&mut app, event("50"));
    assert_eq!(app.back, 3);
    press(&mut app, " ");
    assert_eq!((app.is_paused, app.back), (false, 0));
    press(&mut app, " ");
    saw(&mut app, event("51"));
    assert_eq!(app.back, 1);
}

#[test]
fn a_server_comes_and_goes() {
    let mut app = app();
    saw(&mut app, Saw::Building);
    assert!(app.is_moving());
    saw(&mut app, Saw::Listening("127.0.0.1:8003".parse().unwrap()));
    assert!(!app.is_moving());
    assert_eq!(app.lanes[0].server, Phase::Open);
    saw(&mut app, Saw::Stopped(None));
    assert_eq!((&app.lanes[0].server, app.lanes[0].address), (&Phase::Away, None));
    saw(&mut app, Saw::Stopped(Some("it does not build".into())));
    assert_eq!(app.lanes[0].server, Phase::Ended("it does not build".into()));
}
