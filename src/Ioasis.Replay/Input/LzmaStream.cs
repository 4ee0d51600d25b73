using System.Runtime.InteropServices;

namespace Ioasis.Replay.Input;

/// <summary>A stream that decompresses .xz with the system's liblzma (its public interface is <c>lzma/base.h</c>, <c>container.h</c>).</summary>
internal sealed unsafe partial class LzmaStream : ReadOnlyStream
{
    private const string Library = "liblzma.so.5";
    private const uint Concatenated = 0x08;
    private const int Run = 0;
    private const int Finish = 3;
    private const int Ok = 0;
    private const int StreamEnd = 1;
    private const int MemoryError = 5;
    private const int BufferSize = 1 << 16;

    private readonly string _path;
    private readonly Stream _compressed;
    private State* _state;
    private byte* _input;
    private bool _inputEnded;
    private bool _ended;

    /// <summary>Begins.</summary>
    /// <exception cref="DllNotFoundException">There is no liblzma.</exception>
    public LzmaStream(string path, Stream compressed)
    {
        _path = path;
        _compressed = compressed;
        _state = (State*)NativeMemory.AllocZeroed((nuint)sizeof(State));
        _input = (byte*)NativeMemory.Alloc(BufferSize);
        try
        {
            int result = StreamDecoder(_state, ulong.MaxValue, Concatenated);
            if (result != Ok)
            {
                throw new InvalidOperationException($"liblzma did not start: {result}");
            }
        }
        catch
        {
            Release(end: false);
            throw;
        }
    }

    ~LzmaStream() => Release(end: true);

    /// <inheritdoc/>
    public override int Read(Span<byte> buffer)
    {
        ObjectDisposedException.ThrowIf(_state == null, this);
        if (_ended || buffer.IsEmpty)
        {
            return 0;
        }

        fixed (byte* output = buffer)
        {
            _state->NextOut = output;
            _state->AvailableOut = (nuint)buffer.Length;
            while (_state->AvailableOut == (nuint)buffer.Length)
            {
                if (_state->AvailableIn == 0 && !_inputEnded)
                {
                    int count = _compressed.Read(new Span<byte>(_input, BufferSize));
                    _inputEnded = count == 0;
                    _state->NextIn = _input;
                    _state->AvailableIn = (nuint)count;
                }

                int result = Code(_state, _inputEnded ? Finish : Run);
                if (result == StreamEnd)
                {
                    _ended = true;
                    break;
                }

                if (result != Ok)
                {
                    throw new TraceInputException(
                        TraceInputError.DamagedCompression,
                        _path,
                        null,
                        result == MemoryError ? "cannot be decompressed: out of memory" : _inputEnded
                            ? "ends too early: the xz data is truncated"
                            : "is damaged: the xz data cannot be decompressed");
                }
            }

            return buffer.Length - (int)_state->AvailableOut;
        }
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            _compressed.Dispose();
        }

        Release(end: true);
        base.Dispose(disposing);
    }

    private void Release(bool end)
    {
        if (_state == null)
        {
            return;
        }

        if (end)
        {
            End(_state);
        }

        NativeMemory.Free(_state);
        NativeMemory.Free(_input);
        _state = null;
        _input = null;
    }

    [LibraryImport(Library, EntryPoint = "lzma_stream_decoder")]
    private static partial int StreamDecoder(State* stream, ulong memoryLimit, uint flags);

    [LibraryImport(Library, EntryPoint = "lzma_code")]
    private static partial int Code(State* stream, int action);

    [LibraryImport(Library, EntryPoint = "lzma_end")]
    private static partial void End(State* stream);

    /// <summary><c>lzma_stream</c>; the reserved fields stay 0.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct State
    {
        public byte* NextIn;
        public nuint AvailableIn;
        public ulong TotalIn;
        public byte* NextOut;
        public nuint AvailableOut;
        public ulong TotalOut;
        public void* Allocator;
        public void* Internal;
        public void* ReservedPointer1;
        public void* ReservedPointer2;
        public void* ReservedPointer3;
        public void* ReservedPointer4;
        public ulong SeekPosition;
        public ulong ReservedInteger2;
        public nuint ReservedInteger3;
        public nuint ReservedInteger4;
        public int ReservedEnum1;
        public int ReservedEnum2;
    }
}
