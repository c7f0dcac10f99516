import Glibc

/// Runs `body` with a fresh directory and removes it afterwards, whatever happened.
package func withTemporaryDirectory<Result>(_ body: (String) throws -> Result) throws -> Result {
  let parent = unsafe getenv("TMPDIR").map { unsafe String(cString: $0) } ?? "/tmp"
  var template = Array("\(parent)/ingot-test-XXXXXX".utf8CString)
  guard unsafe mkdtemp(&template) != nil else { throw TestFailure("cannot create a directory in \(parent)") }
  let directory = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  defer { removeTree(directory) }
  return try body(directory)
}

/// Something a test needs is not there.
package struct TestFailure: Error, CustomStringConvertible {
  package let description: String
  package init(_ description: String) { self.description = description }
}

/// Names in a directory, sorted; hidden ones included.
package func listing(of directory: String) -> [String] {
  guard let stream = unsafe opendir(directory) else { return [] }
  defer { unsafe _ = closedir(stream) }
  var names: [String] = []
  while let entry = unsafe readdir(stream) {
    let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) {
      unsafe String(cString: UnsafeRawPointer($0).assumingMemoryBound(to: CChar.self))
    }
    if name != ".", name != ".." { names.append(name) }
  }
  return names.sorted()
}

package func makeDirectory(_ path: String, mode: UInt32 = 0o777) throws {
  guard unsafe mkdir(path, mode) == 0 else { throw TestFailure("cannot make \(path)") }
}

/// Whether nothing is forbidden to the tests.
package let isRoot = geteuid() == 0

package func exists(_ path: String) -> Bool { unsafe access(path, F_OK) == 0 }

private func removeTree(_ path: String) {
  // A link to a directory is removed, not what it leads to.
  guard unsafe unlink(path) != 0 else { return }
  for name in listing(of: path) { removeTree("\(path)/\(name)") }
  unsafe _ = rmdir(path)
}

/// The bytes of a file.
package func contents(of path: String) throws -> [UInt8] {
  guard let file = unsafe fopen(path, "rb") else { throw TestFailure("cannot read \(path)") }
  defer { unsafe _ = fclose(file) }
  var bytes: [UInt8] = []
  var buffer = [UInt8](repeating: 0, count: 1 << 16)
  while true {
    let count = unsafe fread(&buffer, 1, buffer.count, file)
    if count == 0 { return bytes }
    bytes += buffer[..<count]
  }
}

package func write(_ bytes: [UInt8], to path: String) throws {
  guard let file = unsafe fopen(path, "wb") else { throw TestFailure("cannot write \(path)") }
  defer { unsafe _ = fclose(file) }
  guard unsafe bytes.isEmpty || fwrite(bytes, bytes.count, 1, file) == 1 else { throw TestFailure("short write") }
}
