package import Calibration
import Pack
import Safetensors
import Storage

// A part of a pack, and a pack of its parts.

extension Converter {
  /// Makes one part; nothing is left of one that fails.
  ///
  /// - Parameters:
  ///   - part: its number in the plan.
  ///   - path: of the file.
  ///   - states: of the routed experts, where the plan has some.
  ///   - progress, isInterrupted: as for ``write(to:states:replaces:progress:isInterrupted:)``.
  package func make(
    _ part: Int, of parts: PartPlan, to path: String, states: (any StateSource)?, progress: (Int) -> Void,
    isInterrupted: () -> Bool
  ) throws(ConversionError) {
    let own = parts.parts[part]
    var writer: PartWriter
    do throws(FileError) {
      writer = try PartWriter(
        path: path, depth: budget.writes, byteCount: plan.options.compression == .none ? own.outputBytes : nil)
    } catch { throw .part(.system(error)) }
    _ = try encode(own.range, states, window: budget.window, progress: progress, isInterrupted: isInterrupted) {
      (_, result) throws(ConversionError) in
      do throws(FileError) { try writer.append(result) } catch { throw .part(.system(error)) }
    }
    do throws(FileError) { try writer.finish(parts, part) } catch { throw .part(.system(error)) }
  }
}

extension ConversionPlan {
  /// What messages call a chunk.
  package func name(ofChunk index: Int) -> String {
    let chunk = pack.chunks[index]
    let tensor = pack.tensors[chunk.tensors.lowerBound].name
    return switch chunk.kind {
    case .expert: "chunk \(index) (layer \(chunk.layer), expert \(chunk.expert))"
    case .rows: "chunk \(index) (`\(tensor)`, rows \(chunk.rows.lowerBound)..<\(chunk.rows.upperBound))"
    case .file: "chunk \(index)"
    }
  }

  /// Writes the pack of all parts, each chunk of which is compared with its hash on the way.
  ///
  /// - Parameters:
  ///   - parts: the plan.
  ///   - directory: of the files of the parts.
  ///   - threads: that read and compare.
  ///   - progress: called after each chunk with the bytes done so far, of as many as the files have.
  /// - Throws: ``ConversionError/part(_:)`` for parts that are missing, damaged or of another plan; nothing is left under the final
  ///   name or beside it.
  package func merge(
    _ parts: PartPlan, from directory: String, to path: String, replaces: Bool, threads: Int,
    progress: (_ done: Int, _ total: Int) -> Void, isInterrupted: () -> Bool
  ) throws(ConversionError) -> Converter.Outcome {
    var files: [PartFile] = []
    var missing: [Int] = []
    do throws(PartError) {
      for index in parts.parts.indices {
        if let file = try PartFile(index, of: parts, in: directory) {
          files.append(file)
        } else {
          missing.append(index)
        }
      }
    } catch { throw .part(error) }
    guard missing.isEmpty else { throw .part(.partsMissing(missing, directory: directory)) }
    var places: [(file: PartFile, index: Int)] = []
    for (file, part) in zip(files, parts.parts) {
      for (index, receipt) in file.receipts.enumerated() {
        guard receipt.isOf(pack.chunks[part.firstChunk + index]) else {
          throw .part(.foreignPart(path: file.path))
        }
        places.append((file, index))
      }
    }
    let total = files.reduce(0) { $0 + $1.byteCount }
    var writer: PackWriter
    do throws(FileError) {
      writer = try PackWriter(
        OutputFile(path: path, replaces: replaces), plan: pack, depth: SequentialOutput.usefulDepth,
        byteCount: options.compression == .none ? rawByteCount : nil)
    } catch { throw .pack(.system(error)) }
    var tally = Tally(self)
    if let states = parts.states { tally.setStates(states.hash) }
    let buffers = BufferPool(capacity: files.map(\.bufferByteCount).max() ?? 0)
    var done = 0
    try inOrder(
      count: places.count, threads: threads, window: threads + 1, makeWorkspace: {},
      work: { [places] _, index in
        do throws(PartError) {
          return .success(try places[index].file.chunk(places[index].index, buffers) { self.name(ofChunk: index) })
        } catch { return .failure(ConversionError.part(error)) }
      },
      consume: { (index, chunk: EncodedChunk) throws(ConversionError) in
        if isInterrupted() { throw .interrupted }
        do throws(PackError) { try writer.append(chunk) } catch { throw .pack(error) }
        tally.add(index, places[index].file.receipts[places[index].index])
        done += chunk.storedLength
        progress(done, total)
      })
    do throws(PackError) {
      let pack = try writer.finish(errors: tally.errors, codec: ChunkCodec(options.compression), files: tally.files)
      let outcome = tally.outcome(pack.header)
      try pack.commit()
      return outcome
    } catch { throw .pack(error) }
  }
}
