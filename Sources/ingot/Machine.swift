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

  static func isRegularFile(_ path: String) -> Bool {
    var status = stat()
    return unsafe stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFREG
  }

  static func exists(_ path: String) -> Bool { unsafe access(path, F_OK) == 0 || errno != ENOENT }

  /// Whether the path leads to a pipe, a device or a socket.
  static func isStream(_ path: String) -> Bool {
    var status = stat()
    return unsafe stat(path, &status) == 0 && ![S_IFREG, S_IFDIR].contains(status.st_mode & S_IFMT)
  }

  /// The files of a model: all that lie in a directory, or the one file.
  static func files(ofModel path: String) -> [String] {
    guard let directory = unsafe opendir(path) else { return [path] }
    defer { unsafe _ = closedir(directory) }
    var files: [String] = []
    while let entry = unsafe readdir(directory) {
      let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) {
        unsafe String(cString: UnsafeRawPointer($0).assumingMemoryBound(to: CChar.self))
      }
      files.append("\(path)/\(name)")
    }
    return files
  }

  static func isFile(_ path: String, oneOf others: [String]) -> Bool {
    guard let file = identity(path) else { return false }
    return others.contains { identity($0).map { $0 == file } ?? false }
  }

  /// Device and number of a file; links lead to one file.
  private static func identity(_ path: String) -> (dev_t, ino_t)? {
    var status = stat()
    return unsafe stat(path, &status) == 0 ? (status.st_dev, status.st_ino) : nil
  }

  /// Refuses an output before any work: a name that is taken, and with `--force` still a directory, or a file that is
  /// read: what replaces it could never be made again.
  static func requireFree(_ output: String, force: Bool, sources: [String] = []) throws(Failure) {
    var status = stat()
    // A link that leads nowhere is a taken name too.
    guard unsafe stat(output, &status) == 0 || lstat(output, &status) == 0 else { return }
    guard status.st_mode & S_IFMT != S_IFDIR else {
      throw Failure(what: "`\(output)` is a directory", hint: "name a file in it")
    }
    guard !isFile(output, oneOf: sources) else {
      throw Failure(what: "`\(output)` is one of the files to be read", hint: "choose another name")
    }
    guard force else {
      throw Failure(what: "`\(output)` exists already", hint: "choose another name, or replace it with --force")
    }
  }
}
