import Glibc
import Storage

/// Whole commands on real files, from the start of the process to its end, beside what memory and disk can do at best.
struct CommandWorkload {
  struct Failure: Error, CustomStringConvertible { let description: String }

  private let options: Options
  private let limits: Limits
  private let binary: String

  init(_ options: Options) {
    self.options = options
    limits = Limits(mebibytes: options.mebibytes)
    binary = options.binary ?? Command.ingot
  }

  /// `ingot quantize` of a checkpoint.
  func quantize(_ path: String) throws { try write("quantize", path, try Self.files(in: path)) }

  /// `ingot export` of a pack.
  func export(_ path: String) throws { try write("export", path, [try MappedFile(path: path)]) }

  /// A command that reads files once and writes others. Warm, the limit is the slower of reading the input from memory and writing
  /// the output to the disk; cold, reading and writing both at once.
  private func write(_ command: String, _ path: String, _ sources: [MappedFile]) throws {
    let output = options.output.map { "\($0)/bench.ingot" } ?? "\(path).bench.ingot"
    defer { remove(output) }
    let arguments = [command, path, "-o", output, "--force", "--quiet"] + options.arguments
    let input = sources.reduce(0) { $0 + $1.byteCount }
    try warm(sources)
    _ = try run(arguments)  // so that the size of the output is known
    let written = try byteCount(of: output)
    var times: [Double] = []
    var reads: [Double] = []
    var writes: [Double] = []
    var joint: [Double] = []
    for round in 0..<options.runs {
      remove(output)
      reads.append(Double(input) / limits.reading())
      writes.append(try limits.transfer(write: written, beside: output))
      guard options.isCold else {
        try warm(sources)
        times.append(try run(arguments))
        continue
      }
      // By turns which comes first: a host may keep what its guest has dropped, and then the second is the faster.
      for isCommand in [round % 2 == 0, round % 2 != 0] {
        for source in sources { source.release(0..<source.byteCount) }
        if isCommand {
          times.append(try run(arguments))
        } else {
          joint.append(try limits.transfer(write: written, beside: output, read: sources))
        }
      }
    }
    let (time, read, write) = (median(times), median(reads), median(writes))
    let best = options.isCold ? median(joint) : max(read, write)
    var line = head(command, path, bytes: input) + "\"written\":\(written),\"ms\":\(milliseconds(times)),"
    line += "\"gb_per_s\":\(Rates(byteCount: input, seconds: times).json),"
    line += "\"read_gb_per_s\":\(Rates(byteCount: input, seconds: reads).json),"
    line += "\"write_gb_per_s\":\(Rates(byteCount: written, seconds: writes).json),"
    if options.isCold { line += "\"joint_gb_per_s\":\(Rates(byteCount: input + written, seconds: joint).json)," }
    print(line + "\"share_of_limit\":\(digits(best / time))}")
  }

  /// `ingot inspect --check` of a pack, beside reading and hashing from memory, and reading the file alone, from the page
  /// cache or, cold, past it.
  func check(_ path: String) throws {
    let file = try MappedFile(path: path)
    let reader = try ReadOnlyFile(path: path)
    let arguments = ["inspect", path, "--check"] + options.arguments
    var times: [Double] = []
    var reads: [Double] = []
    var hashes: [Double] = []
    var copies: [Double] = []
    for _ in 0..<options.runs {
      reads.append(Double(file.byteCount) / limits.reading())
      hashes.append(Double(file.byteCount) / limits.hashing())
      if options.isCold { file.release(0..<file.byteCount) } else { try warm([file]) }
      copies.append(try limits.reading(reader))
      times.append(try run(arguments))
    }
    var line = head("check", path, bytes: file.byteCount) + "\"ms\":\(milliseconds(times)),"
    line += "\"gb_per_s\":\(Rates(byteCount: file.byteCount, seconds: times).json),"
    line += "\"read_gb_per_s\":\(Rates(byteCount: file.byteCount, seconds: reads).json),"
    line += "\"hash_gb_per_s\":\(Rates(byteCount: file.byteCount, seconds: hashes).json),"
    line += "\"file_gb_per_s\":\(Rates(byteCount: file.byteCount, seconds: copies).json),"
    line += "\"share_of_hash\":\(digits(median(hashes) / median(times))),"
    print(line + "\"share_of_file\":\(digits(median(copies) / median(times)))}")
  }

  /// Two binaries with the same arguments, by turns.
  func compare(_ first: String, _ second: String) throws {
    var times: [[Double]] = [[], []]
    for _ in 0...options.runs {
      for (index, binary) in [first, second].enumerated() {
        guard let time = Command.run(binary, options.arguments) else {
          throw Failure(description: "`\(binary) \(options.arguments.joined(separator: " "))` fails")
        }
        times[index].append(time)
      }
    }
    times = times.map { Array($0.dropFirst()) }
    let ratios = zip(times[0], times[1]).map { $0 / $1 }.sorted()
    print(
      "{\"workload\":\"compare\",\"runs\":\(options.runs),\"a\":\"\(first)\",\"b\":\"\(second)\","
        + "\"a_ms\":\(milliseconds(times[0])),\"b_ms\":\(milliseconds(times[1])),"
        + "\"a_over_b\":{\"min\":\(digits(ratios[0])),\"median\":\(digits(ratios[ratios.count / 2])),"
        + "\"max\":\(digits(ratios[ratios.count - 1]))}}")
  }

  private func run(_ arguments: [String]) throws(Failure) -> Double {
    guard let time = Command.run(binary, arguments) else {
      throw Failure(description: "`\(binary) \(arguments.joined(separator: " "))` fails")
    }
    return time
  }

  private func remove(_ output: String) { _ = Command.run("/bin/rm", ["-rf", output]) }

  /// Of a file, or of all files in a directory.
  private func byteCount(of path: String) throws -> Int {
    guard let stream = unsafe opendir(path) else { return try MappedFile(path: path).byteCount }
    defer { unsafe _ = closedir(stream) }
    var byteCount = 0
    while let entry = unsafe readdir(stream) {
      let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) {
        unsafe String(cString: UnsafeRawPointer($0).assumingMemoryBound(to: CChar.self))
      }
      if !name.hasPrefix(".") { byteCount += try MappedFile(path: "\(path)/\(name)").byteCount }
    }
    return byteCount
  }

  /// The shards of a checkpoint.
  static func files(in directory: String) throws -> [MappedFile] {
    guard let stream = unsafe opendir(directory) else { throw FileError("open", directory) }
    defer { unsafe _ = closedir(stream) }
    var names: [String] = []
    while let entry = unsafe readdir(stream) {
      let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) {
        unsafe String(cString: UnsafeRawPointer($0).assumingMemoryBound(to: CChar.self))
      }
      if name.hasSuffix(".safetensors") { names.append(name) }
    }
    guard !names.isEmpty else { throw Failure(description: "`\(directory)` holds no safetensors") }
    return try names.sorted().map { name throws in try MappedFile(path: "\(directory)/\(name)") }
  }

  /// Brings all pages into the page cache, without mapping them.
  private func warm(_ files: [MappedFile]) throws {
    for file in files {
      let descriptor = unsafe open(file.path, O_RDONLY | O_CLOEXEC)
      guard descriptor >= 0 else { throw FileError("open", file.path) }
      defer { close(descriptor) }
      var buffer = [UInt8](repeating: 0, count: 1 << 20)
      while unsafe read(descriptor, &buffer, buffer.count) > 0 {}
    }
  }

  private func milliseconds(_ times: [Double]) -> String { spread(times.map { $0 * 1e3 }) }

  private func head(_ workload: String, _ path: String, bytes: Int) -> String {
    let name = path.split(separator: "/").last.map(String.init) ?? path
    let words = options.arguments.map { "\"\($0)\"" }.joined(separator: ",")
    return "{\"workload\":\"\(workload)\",\"model\":\"\(name)\",\"arguments\":[\(words)],"
      + "\"cache\":\"\(options.isCold ? "cold" : "warm")\",\"runs\":\(options.runs),\"bytes\":\(bytes),"
  }
}
