import Glibc
import TestSupport
import Testing

/// `ingot run` on a terminal: the block is redrawn in place, and what stays is the text.
@Suite struct RunTerminalTests {
  @Test("after all redrawing the answer stands there once", arguments: [80, 40, 11, 2])
  func live(columns: Int) throws {
    try withTemporaryDirectory { directory in
      let arguments = [
        "run", pico, "-p", "List the first 10 multiples of 6.", "--threshold", "1", "--block-length", "16",
      ]
      let plain = try ingot(arguments, in: directory).out
      let bytes = try written(arguments, in: directory, columns: columns, environment: ["TERM": "xterm"])
      let raw = String(decoding: bytes, as: UTF8.self)
      #expect(raw.contains("\u{1B}[?7l") && raw.contains("masked") == (columns > 30))
      let rows = Screen(columns: columns, raw).rows.joined()
      #expect(rows == String(plain.dropLast()), "\(columns): \(rows)")
      #expect(raw.components(after: "\u{1B}[?7").last?.hasPrefix("h") == true, "wrapping is on again")
    }
  }

  @Test func colourIsLeftOutWhereItIsNotWanted() throws {
    try withTemporaryDirectory { directory in
      let arguments = ["run", pico, "-p", "What is 60 + 23?", "--threshold", "1"]
      for (noColour, isColoured) in [("", true), ("1", false)] {
        let raw = String(
          decoding: try written(
            arguments, in: directory, columns: 80, environment: ["TERM": "xterm", "NO_COLOR": noColour]), as: UTF8.self)
        #expect(raw.contains("\u{1B}[2m") == isColoured && raw.contains("░"), "\(noColour)")
      }
      let dumb = try written(arguments, in: directory, columns: 80, environment: ["TERM": "dumb"])
      #expect(!dumb.contains(0x1B))
    }
  }

  @Test func aMessageThatCannotBeAnsweredDoesNotEndAConversation() throws {
    try withTemporaryDirectory { directory in
      let said =
        Array(repeating: UInt8(ascii: "1"), count: 3900)
        + Array("\n\u{FF}\nWhat is the capital of Egypt?\n/exit\n".utf8)
      let broken = said.filter { $0 != 0xC3 }  // the rest of a character
      let (terminal, path, held) = try openTerminal(columns: 80)
      defer { close(terminal) }
      let command = try Command(["run", pico, "--chat"], in: directory, redirection: "<\(path)")
      #expect(unsafe Glibc.write(terminal, broken, broken.count) == broken.count)
      let result = try command.wait()
      close(held)
      #expect(result.code == 0 && result.out == "The capital of Egypt is Cairo.\n", "\(result)")
      #expect(result.err.contains("4,096") && result.err.contains("not valid UTF-8"), "\(result.err)")
      // Nobody sits at a pipe.
      try write(broken, to: directory + "/lines")
      let piped = try ingot(["run", pico, "--chat"], in: directory, redirection: "<lines")
      #expect(piped.code == 1 && piped.out.isEmpty, "\(piped)")
    }
  }

  /// Linux's own calls: those of POSIX are not in the module.
  private func openTerminal(columns: Int) throws -> (terminal: Int32, path: String, held: Int32) {
    let terminal = unsafe open("/dev/ptmx", O_RDWR | O_NOCTTY)
    var (locked, number): (Int32, Int32) = (0, 0)
    let (unlock, getNumber): (UInt, UInt) = (0x4004_5431, 0x8004_5430)
    guard terminal >= 0, unsafe ioctl(terminal, unlock, &locked) == 0, unsafe ioctl(terminal, getNumber, &number) == 0
    else { throw TestFailure("no terminal") }
    let path = "/dev/pts/\(number)"
    var size = winsize(ws_row: 24, ws_col: UInt16(columns), ws_xpixel: 0, ws_ypixel: 0)
    let held = unsafe open(path, O_RDWR | O_NOCTTY)
    unsafe _ = ioctl(terminal, UInt(TIOCSWINSZ), &size)
    return (terminal, path, held)
  }

  /// What a run writes to a terminal as stdout.
  private func written(
    _ arguments: [String], in directory: String, columns: Int, environment: [String: String]
  ) throws -> [UInt8] {
    let (terminal, path, held) = try openTerminal(columns: columns)
    defer { close(terminal) }
    let command = try Command(arguments, in: directory, redirection: ">\(path)", environment: environment)
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 4096)
    var event = pollfd(fd: terminal, events: Int16(POLLIN), revents: 0)
    // Reading fails once nobody holds the other end; until the run has it, this does.
    while unsafe poll(&event, 1, 20_000) > 0 {
      let count = unsafe read(terminal, &buffer, buffer.count)
      if count <= 0 { break }
      if bytes.isEmpty { close(held) }
      bytes += buffer[..<count]
    }
    let result = try command.wait()
    guard result.code == 0 else { throw TestFailure("\(result)") }
    return bytes
  }
}

/// As much of a terminal as the display uses; all characters are one column wide.
private struct Screen {
  private(set) var rows: [String] = [""]

  init(columns: Int, _ text: String) {
    var cells: [[Unicode.Scalar]] = [[]]
    var (row, column, wraps) = (0, 0, true)
    var scalars = text.unicodeScalars[...]
    while let scalar = scalars.popFirst() {
      switch scalar {
      case "\r": column = 0
      case "\n":
        row += 1
        if row == cells.count { cells.append([]) }
      case "\u{1B}":
        let end = scalars.firstIndex { $0.properties.isAlphabetic } ?? scalars.endIndex
        let sequence = String(scalars[...end])
        scalars = scalars[scalars.index(after: end)...]
        switch sequence.unicodeScalars.last {
        case "A": row -= Int(sequence.dropFirst().dropLast()) ?? 1
        case "J":
          cells.removeSubrange((row + 1)...)
          cells[row].removeSubrange(min(column, cells[row].count)...)
        case "K": cells[row] = []
        case "h": wraps = true
        case "l": wraps = false
        default: break
        }
      default:
        if column == columns {
          if wraps {
            row += 1
            column = 0
            if row == cells.count { cells.append([]) }
          } else {
            column -= 1
          }
        }
        while cells[row].count <= column { cells[row].append(" ") }
        cells[row][column] = scalar
        column += 1
      }
    }
    rows = cells.map { row in
      var string = ""
      string.unicodeScalars.append(contentsOf: row)
      return string
    }
  }
}

extension String {
  /// What follows each place where `separator` stands.
  fileprivate func components(after separator: String) -> [Substring] {
    ranges(of: separator).map { self[$0.upperBound...] }
  }
}
