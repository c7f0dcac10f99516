import Glibc

/// What this process may use of the machine.
enum Machine {
  /// Processors, or fewer where a control group limits the time: `cpu.max` of cgroup v2 holds quota and period.
  static let threads: Int = {
    let online = max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN)))
    guard let file = unsafe fopen("/sys/fs/cgroup/cpu.max", "r") else { return online }
    defer { unsafe _ = fclose(file) }
    var line = [CChar](repeating: 0, count: 64)
    guard unsafe fgets(&line, 64, file) != nil else { return online }
    let text = String(decoding: line.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    let numbers = text.split { !$0.isNumber }.compactMap { Int($0) }
    guard numbers.count == 2, numbers[1] > 0 else { return online }
    return min(online, max(1, numbers[0] / numbers[1]))
  }()

  /// Bytes that an ordinary user may still write beside `path`; nil where the system does not say.
  static func freeBytes(beside path: String) -> Int? {
    let directory = path.lastIndex(of: "/").map { $0 == path.startIndex ? "/" : String(path[..<$0]) } ?? "."
    var status = statvfs()
    guard unsafe statvfs(directory, &status) == 0 else { return nil }
    return Int(status.f_bavail) * Int(status.f_frsize)
  }

  static func exists(_ path: String) -> Bool { unsafe access(path, F_OK) == 0 }
}
