import Glibc
import Storage
import Text

/// Text that a person hands over: prompts, texts, recipes, token ids. All of it is read here, in one way.
///
/// A name may lead to a file, a pipe or a device; `-` is stdin. A byte order mark at the beginning, which editors on Windows
/// write, is no part of the text.
enum TextInput {
  static let standardInput = "-"
  static let mark: [UInt8] = [0xEF, 0xBB, 0xBF]

  /// All bytes of an input.
  ///
  /// - Parameter limit: more are refused, of a file before it is read.
  static func contents(of path: String, limit: Int = .max) throws(Failure) -> [UInt8] {
    let bytes = try allBytes(of: path, limit: limit)
    return bytes.starts(with: mark) ? Array(bytes.dropFirst(mark.count)) : bytes
  }

  /// Refuses two inputs that are one stream: the second would find it at its end.
  ///
  /// - Parameter inputs: options with what they name; nil where they are not given.
  static func requireApart(_ inputs: [(option: String, path: String?)]) throws(Failure) {
    var streams: [(option: String, identity: FileIdentity)] = []
    for (option, path) in inputs {
      guard let path, path == standardInput || Machine.isStream(path),
        let identity = FileIdentity(of: path == standardInput ? "/dev/stdin" : path)
      else { continue }
      if let other = streams.first(where: { $0.identity == identity }) {
        throw Failure(
          what: "\(other.option) and \(option) read the same stream", place: Shown.input(path),
          hint: "a stream can be read once; give one of them as a file", code: .usage)
      }
      streams.append((option, identity))
    }
  }

  private static func allBytes(of path: String, limit: Int) throws(Failure) -> [UInt8] {
    // A named pipe that is opened anew after its writer left has no end that could be seen.
    if path == standardInput || Machine.isStream(path) && FileIdentity(of: path) == FileIdentity(of: "/dev/stdin") {
      return try readAll(STDIN_FILENO, path, limit: limit)
    }
    guard Machine.isStream(path) else {
      let file: MappedFile
      do throws(FileError) { file = try MappedFile(path: path) } catch { throw Failure(error) }
      guard file.byteCount <= limit else { throw Failure(tooLarge: path, limit: limit) }
      return file.bytes.array
    }
    // Opening a pipe that nobody writes to yet would wait without a word.
    let descriptor = SystemCall.open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
    guard descriptor >= 0 else { throw Failure(FileError("open", path)) }
    defer { close(descriptor) }
    return try readAll(descriptor, path, limit: limit)
  }

  /// What a descriptor gives up to its end.
  static func readAll(_ descriptor: Int32, _ path: String, limit: Int = .max) throws(Failure) -> [UInt8] {
    var bytes: [UInt8] = []
    while let more = try read(descriptor, path) {
      bytes += more
      guard bytes.count <= limit else { throw Failure(tooLarge: path, limit: limit) }
    }
    return bytes
  }

  /// What a stream has next, nil at its end.
  static func read(
    _ descriptor: Int32 = STDIN_FILENO, _ path: String = standardInput
  ) throws(Failure) -> [UInt8]? {
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      // A pipe that was opened without waiting for its writer says nothing until there is one.
      var event = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
      if unsafe poll(&event, 1, -1) < 0, errno != EINTR { throw failure(path) }
      let count = unsafe Glibc.read(descriptor, &buffer, buffer.count)
      if count < 0 {
        if errno == EINTR || errno == EAGAIN { continue }
        throw failure(path)
      }
      return count == 0 ? nil : Array(buffer[..<count])
    }
  }

  private static func failure(_ path: String) -> Failure {
    Failure(FileError("read", path == standardInput ? "stdin" : path))
  }

  /// The text, which must be UTF-8.
  ///
  /// - Parameter source: what messages call it.
  static func string(_ bytes: [UInt8], _ source: String) throws(Failure) -> String {
    do throws(UTF8.ValidationError) { _ = try UTF8Span(validating: bytes.span) } catch {
      throw Failure(invalidUTF8: source, byteOffset: error.byteOffsets.lowerBound)
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// Refuses a word of the command line that is no text: it was taken as the name of a file would be.
  static func requireText(_ word: String?, _ option: String) throws(Failure) {
    guard let word, FileName.isEscaped(word) else { return }
    _ = try string(FileName.bytes(of: word), option)
  }
}
