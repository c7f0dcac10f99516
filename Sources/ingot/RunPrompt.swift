import Glibc
import JSON
import Tensors
import Text

/// Where a prompt comes from, read and checked.
enum PromptSource {
  /// Refuses a command line that is no text: its words are repaired when Swift reads them, so that is looked for here.
  static func requireTextOnCommandLine() throws(Failure) {
    for index in 1..<max(1, Int(CommandLine.argc)) {
      guard let word = unsafe CommandLine.unsafeArgv[index] else { continue }
      let bytes = unsafe Array(UnsafeRawBufferPointer(start: word, count: strlen(word)))
      _ = try string(bytes, "command line, word \(index)")
    }
  }

  /// All of stdin, without one line end at its end.
  static func standardInput() throws(Failure) -> String {
    if isatty(STDIN_FILENO) == 1 { Console.note("type the prompt; end it with Ctrl-D") }
    var bytes = try readAll()
    if bytes.last == UInt8(ascii: "\n") { bytes.removeLast() }
    if bytes.last == UInt8(ascii: "\r") { bytes.removeLast() }
    return try string(bytes, "stdin")
  }

  /// Ids between white space, or a JSON array of them; `-` is stdin.
  static func tokens(file path: String) throws(Failure) -> [Int] {
    let source = path == "-" ? "stdin" : "`\(path)`"
    let bytes = path == "-" ? try readAll() : try contents(of: path)
    let isArray = bytes.first { !isSpace($0) } == UInt8(ascii: "[")
    return isArray ? try arrayTokens(bytes, source) : try plainTokens(bytes, source)
  }

  private static func contents(of path: String) throws(Failure) -> [UInt8] {
    guard Machine.isStream(path) else {
      let file: MappedFile
      do throws(FileError) { file = try MappedFile(path: path) } catch { throw Failure(error) }
      return file.bytes.array
    }
    // A named pipe that is opened anew after its writer left has no end that could be seen.
    if FileIdentity(of: path) == FileIdentity(of: "/dev/stdin") { return try readAll() }
    // Opening a pipe that nobody writes to yet would wait where no interrupt is seen.
    let descriptor = unsafe open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
    guard descriptor >= 0 else { throw Failure(FileError("open", path)) }
    defer { close(descriptor) }
    return try readAll(descriptor, path)
  }

  private static func arrayTokens(_ bytes: [UInt8], _ source: String) throws(Failure) -> [Int] {
    let document: JSONValue
    do throws(JSONError) { document = try unsafe JSONParser.parse(bytes.span.bytes) } catch {
      throw Failure(tokens: source, detail: error.reason, byteOffset: error.byteOffset)
    }
    let elements = document.array ?? []
    if let wrong = elements.firstIndex(where: { $0.int == nil }) {
      throw Failure(
        tokens: source, detail: "the array holds \(elements[wrong].kind) that is no integer",
        byteOffset: start(ofElement: wrong, bytes))
    }
    return elements.compactMap(\.int)
  }

  /// Where an element of an array that was parsed stands.
  private static func start(ofElement index: Int, _ bytes: [UInt8]) -> Int {
    var (depth, commas, isInString) = (0, 0, false)
    var offset = 0
    while offset < bytes.count {
      let byte = bytes[offset]
      if depth == 1, commas == index, !isInString, !isSpace(byte), byte != UInt8(ascii: ",") { return offset }
      switch byte {
      case UInt8(ascii: "\\") where isInString: offset += 1
      case UInt8(ascii: "\""): isInString.toggle()
      case _ where isInString: break
      case UInt8(ascii: "["), UInt8(ascii: "{"): depth += 1
      case UInt8(ascii: "]"), UInt8(ascii: "}"): depth -= 1
      case UInt8(ascii: ",") where depth == 1: commas += 1
      default: break
      }
      offset += 1
    }
    return 0
  }

  private static func plainTokens(_ bytes: [UInt8], _ source: String) throws(Failure) -> [Int] {
    var ids: [Int] = []
    var start = 0
    for word in bytes.split(omittingEmptySubsequences: false, whereSeparator: isSpace) {
      defer { start = word.endIndex + 1 }
      guard !word.isEmpty else { continue }
      let text = String(decoding: word, as: UTF8.self)
      guard let id = Int(text) else {
        throw Failure(tokens: source, detail: "`\(Shown.text(text, limit: 40))` is no integer", byteOffset: start)
      }
      ids.append(id)
    }
    return ids
  }

  private static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0D).contains(byte) }

  static func string(_ bytes: [UInt8], _ source: String) throws(Failure) -> String {
    let valid = validPrefix(bytes)
    guard valid == bytes.count else { throw Failure(invalidUTF8: source, byteOffset: valid) }
    return String(decoding: bytes, as: UTF8.self)
  }

  private static func validPrefix(_ bytes: [UInt8]) -> Int {
    do throws(UTF8.ValidationError) {
      _ = try UTF8Span(validating: bytes.span)
      return bytes.count
    } catch { return error.byteOffsets.lowerBound }
  }

  private static func readAll(_ descriptor: Int32 = STDIN_FILENO, _ path: String = "stdin") throws(Failure) -> [UInt8] {
    var bytes: [UInt8] = []
    while let more = try read(descriptor, path) { bytes += more }
    return bytes
  }

  /// What a stream has next, nil at its end.
  static func read(_ descriptor: Int32 = STDIN_FILENO, _ path: String = "stdin") throws(Failure) -> [UInt8]? {
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      // A pipe that was opened without waiting for its writer says nothing until there is one.
      var event = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
      if unsafe poll(&event, 1, -1) < 0, errno != EINTR { throw Failure(FileError("read", path)) }
      let count = unsafe Glibc.read(descriptor, &buffer, buffer.count)
      if count < 0 {
        if errno == EINTR || errno == EAGAIN { continue }
        throw Failure(FileError("read", path))
      }
      return count == 0 ? nil : Array(buffer[..<count])
    }
  }
}

/// Lines of stdin, one by one.
struct InputLines {
  private var rest: [UInt8] = []
  private var isAtEnd = false

  /// The next line without its end; nil when there is none.
  mutating func next() throws(Failure) -> [UInt8]? {
    while true {
      if let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
        var line = Array(rest[..<end])
        rest.removeFirst(end + 1)
        if line.last == UInt8(ascii: "\r") { line.removeLast() }
        return line
      }
      if isAtEnd {
        guard !rest.isEmpty else { return nil }
        defer { rest = [] }
        return rest
      }
      if let more = try PromptSource.read() { rest += more } else { isAtEnd = true }
    }
  }
}
