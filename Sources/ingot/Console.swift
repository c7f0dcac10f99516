import Glibc
import JSON
import Storage
import Tensors
import Text

/// Data goes to stdout, talk to stderr; colour only on a terminal that wants it.
enum Console {
  static let stderrIsTerminal = isatty(STDERR_FILENO) == 1
  static let stdoutIsTerminal = isatty(STDOUT_FILENO) == 1

  /// A line of data. Where it cannot be delivered the process ends: files that were asked for are to be written before. A
  /// reader that went away, as `head` does, has what it wanted, and that is no failure.
  static func print(_ line: String = "") { write(line + "\n", to: STDOUT_FILENO) }

  /// A document, at once or as its pieces are made. What nobody would see in it is spelled.
  static func print(_ document: JSONValue) { print(document.text(hidden: .spelled)) }

  static func print(_ document: JSONDocument) {
    JSONWriter.write(document, .spelled) { write($0, to: STDOUT_FILENO) }
    print()
  }

  /// A line of talk.
  static func note(_ line: String = "") { write(Shown.fileNames(in: line) + "\n", to: STDERR_FILENO) }

  /// Text without a line end, for progress.
  static func status(_ text: String) { write(text, to: STDERR_FILENO) }

  /// Names and values of a stranger's file may stand in any part, so none may steer the terminal.
  static func report(_ failure: Failure) {
    let shown = { (text: String) in Shown.text(text, limit: 4000) }
    var text = "\(bold("error:", on: stderrIsTerminal)) \(shown(failure.what))"
    if let place = failure.place { text += "\n  in \(shown(place))" }
    if let hint = failure.hint { text += "\n\n\(bold("hint:", on: stderrIsTerminal)) \(shown(hint))" }
    note(text)
  }

  static func heading(_ text: String) -> String { bold(text, on: stdoutIsTerminal) }

  /// Characters in a line of the terminal that stdout is; nil where it is none.
  static let columns: Int? = size?.columns

  /// Rows and columns of the terminal that stdout is, as they are now; nil where it is none.
  static var size: (rows: Int, columns: Int)? {
    var size = winsize()
    guard stdoutIsTerminal, unsafe ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else {
      return nil
    }
    return (max(1, Int(size.ws_row)), Int(size.ws_col))
  }

  /// Whether the terminal cannot move its cursor.
  static let isDumb = unsafe getenv("TERM").map { unsafe String(cString: $0) == "dumb" } ?? true

  static let wantsColour: Bool = {
    let noColour = unsafe getenv("NO_COLOR").map { unsafe $0[0] != 0 } ?? false
    return !noColour && !isDumb
  }()

  /// Bytes of data without a line end.
  static func data(_ bytes: [UInt8]) { write(bytes, to: STDOUT_FILENO) }

  private static func bold(_ text: String, on terminal: Bool) -> String {
    terminal && wantsColour ? "\u{1B}[1m\(text)\u{1B}[0m" : text
  }

  private static func write(_ text: String, to descriptor: Int32) { write(Array(text.utf8), to: descriptor) }

  private static func write(_ all: [UInt8], to descriptor: Int32) {
    var bytes = all[...]
    while !bytes.isEmpty {
      let count = unsafe bytes.withUnsafeBytes { unsafe Glibc.write(descriptor, $0.baseAddress, $0.count) }
      if count < 0 {
        if errno == EINTR { continue }
        // Output that cannot be delivered must not look delivered; a lost progress line may.
        guard descriptor == STDOUT_FILENO else { return }
        if errno == EPIPE { exit(0) }
        let failure = Failure(stdout: FileError("write", "stdout"))
        report(failure)
        exit(failure.code.rawValue)
      }
      bytes = bytes.dropFirst(count)
    }
  }
}
