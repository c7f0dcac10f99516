import Glibc

/// What this process may use of the machine.
enum Machine {
  /// Processors that this process is bound to, or fewer where a control group limits the time: `cpu.max` of cgroup v2 holds
  /// quota and period.
  static let threads: Int = {
    // A mask in hexadecimal digits; the rest is commas.
    let bound = processStatus("Cpus_allowed")?.reduce(0) { $0 + ($1.hexDigitValue?.nonzeroBitCount ?? 0) } ?? 0
    let online = max(1, bound > 0 ? bound : sysconf(Int32(_SC_NPROCESSORS_ONLN)))
    guard let file = unsafe fopen("/sys/fs/cgroup/cpu.max", "r") else { return online }
    defer { unsafe _ = fclose(file) }
    var line = [CChar](repeating: 0, count: 64)
    guard unsafe fgets(&line, 64, file) != nil else { return online }
    let text = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    let numbers = text.split { !$0.isNumber }.compactMap { Int($0) }
    guard numbers.count == 2, numbers[1] > 0 else { return online }
    return min(online, max(1, numbers[0] / numbers[1]))
  }()

  /// A field of `/proc/self/status`; nil where there is none.
  static func processStatus(_ field: String) -> String? {
    guard let file = unsafe fopen("/proc/self/status", "r") else { return nil }
    defer { unsafe _ = fclose(file) }
    var line = [CChar](repeating: 0, count: 4096)
    while unsafe fgets(&line, 4096, file) != nil {
      let text = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
      if text.hasPrefix("\(field):") { return String(text.dropFirst(field.count + 1)) }
    }
    return nil
  }

  static func isRegularFile(_ path: String) -> Bool { kind(of: path) == S_IFREG }

  static func isDirectory(_ path: String) -> Bool { kind(of: path) == S_IFDIR }

  /// Whether the path leads to a pipe, a device or a socket.
  static func isStream(_ path: String) -> Bool { kind(of: path).map { ![S_IFREG, S_IFDIR].contains($0) } ?? false }

  private static func kind(of path: String) -> mode_t? {
    var status = stat()
    return unsafe stat(path, &status) == 0 ? status.st_mode & S_IFMT : nil
  }

  static func exists(_ path: String) -> Bool { unsafe access(path, F_OK) == 0 || errno != ENOENT }

  /// Whether a directory has an entry of this name, and be it a link that leads nowhere.
  static func isTaken(_ path: String) -> Bool {
    var status = stat()
    return unsafe lstat(path, &status) == 0
  }

  static func byteCount(of path: String) -> Int? {
    var status = stat()
    return unsafe stat(path, &status) == 0 ? Int(status.st_size) : nil
  }

  /// What is written in a link; nil where the path is none.
  static func target(ofLink path: String) -> String? {
    var buffer = [UInt8](repeating: 0, count: Int(PATH_MAX))
    let count = unsafe buffer.withUnsafeMutableBytes {
      unsafe readlink(path, $0.baseAddress!.assumingMemoryBound(to: CChar.self), $0.count)
    }
    return count < 0 ? nil : String(decoding: buffer[..<count], as: UTF8.self)
  }

  /// The path without links; nil where it leads nowhere.
  static func resolved(_ path: String) -> String? {
    guard let real = unsafe realpath(path, nil) else { return nil }
    defer { unsafe free(real) }
    return unsafe String(cString: real)
  }

  /// What lies in a directory; nil where the path is none.
  static func names(in path: String) -> [String]? {
    guard let directory = unsafe opendir(path) else { return nil }
    defer { unsafe _ = closedir(directory) }
    var names: [String] = []
    while let entry = unsafe readdir(directory) {
      names.append(
        unsafe withUnsafePointer(to: &entry.pointee.d_name) {
          unsafe String(cString: UnsafeRawPointer($0).assumingMemoryBound(to: CChar.self))
        })
    }
    return names
  }
}
