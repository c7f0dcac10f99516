import Glibc
import Storage

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

  /// Where files for the time of a run go.
  static var temporaryDirectory: String { unsafe getenv("TMPDIR").map { unsafe String(cString: $0) } ?? "/tmp" }

  static func isRegularFile(_ path: String) -> Bool { kind(of: path) == S_IFREG }

  static func isDirectory(_ path: String) -> Bool { kind(of: path) == S_IFDIR }

  /// Whether the path leads to a pipe, a device or a socket.
  static func isStream(_ path: String) -> Bool { kind(of: path).map { ![S_IFREG, S_IFDIR].contains($0) } ?? false }

  private static func kind(of path: String) -> mode_t? { SystemCall.status(of: path).map { $0.st_mode & S_IFMT } }

  /// Takes as many descriptors as the system grants: each file of a checkpoint stays open, and shells set limits that are
  /// lower than they need be.
  static func raiseDescriptorLimit() {
    var limit = rlimit()
    guard unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
    limit.rlim_cur = limit.rlim_max
    unsafe _ = setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
  }

  static func exists(_ path: String) -> Bool { SystemCall.access(path, F_OK) == 0 || errno != ENOENT }

  /// Whether a directory has an entry of this name, and be it a link that leads nowhere.
  static func isTaken(_ path: String) -> Bool { SystemCall.statusOfLink(path) != nil }

  static func byteCount(of path: String) -> Int? { SystemCall.status(of: path).map { Int($0.st_size) } }
}
