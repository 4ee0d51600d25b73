using System.Buffers.Binary;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using Ioasis.Primitives;
using Microsoft.Win32.SafeHandles;

namespace Ioasis.VfioUser.Qemu;

/// <summary>
/// The socket to a QEMU of the machine <c>x-remote</c> (QEMU's "multi-process" protocol, as its version 11 speaks it): configuration space, registers by their
/// addresses, the memory that the device reaches, its interrupt. One request at a time. Once the other end is gone, or says what it should not, every request
/// fails with EIO.
/// </summary>
/// <param name="socket">Our end.</param>
/// <param name="hasEnded">Whether the other process has ended. Its end of the socket may be open for longer: a child of ours can have it too.</param>
internal sealed class QemuLink(SafeSocketHandle socket, Func<bool> hasEnded) : IDisposable
{
    /// <summary>Ranges of memory that one message can show: there is room for eight, and QEMU refuses a message with eight descriptors.</summary>
    public const int MostWindows = 7;

    private const int HeaderBytes = 16;
    private const int AnswerBytes = 8;
    private const int Slots = 8;

    // Far more than a loaded machine needs.
    private const int PatienceMilliseconds = 300_000;
    private const int LookMilliseconds = 100;

    private readonly List<SafeFileHandle> _strays = [];
    private bool _isGone;

    private enum Command
    {
        ShowMemory = 0,
        Answer = 1,
        WriteConfiguration = 2,
        ReadConfiguration = 3,
        WriteRegister = 4,
        ReadRegister = 5,
        SetInterrupt = 6,
        Reset = 7,
    }

    /// <summary>Reads a word of configuration space.</summary>
    /// <param name="offset">A multiple of 4: QEMU ends over one that goes past the end.</param>
    /// <param name="value">The word.</param>
    public Errno ReadConfiguration(int offset, out uint value)
    {
        Errno error = Call(Command.ReadConfiguration, MakeAccess(offset, 0, 4), out ulong answer);
        value = (uint)answer;
        return error;
    }

    /// <summary>Writes configuration space.</summary>
    /// <param name="offset">First byte; not in the last three of the space.</param>
    /// <param name="value">The value.</param>
    /// <param name="length">1, 2 or 4 bytes.</param>
    public Errno WriteConfiguration(int offset, uint value, int length) => Call(Command.WriteConfiguration, MakeAccess(offset, value, length), out _);

    /// <summary>Reads a register.</summary>
    /// <param name="isMemory">Whether the address is in memory space, and not in I/O space.</param>
    /// <param name="address">Where it is: QEMU ends if nothing is there.</param>
    /// <param name="size">1, 2, 4 or 8 bytes.</param>
    /// <param name="value">The value.</param>
    public Errno ReadRegister(bool isMemory, ulong address, int size, out ulong value) =>
        Call(Command.ReadRegister, MakeAccess(isMemory, address, size, 0), out value);

    /// <summary>Writes a register, as <see cref="ReadRegister"/>.</summary>
    public Errno WriteRegister(bool isMemory, ulong address, int size, ulong value) =>
        Call(Command.WriteRegister, MakeAccess(isMemory, address, size, value), out _);

    /// <summary>Says what memory the device reaches; of what it reached before nothing stays. There is no answer: the next request comes after it.</summary>
    /// <param name="windows">Where each begins, in the device's addresses, its bytes, and where it is in the file; 1 to <see cref="MostWindows"/>.</param>
    /// <param name="file">The memory.</param>
    public Errno ShowMemory(ReadOnlySpan<(ulong Start, ulong Length, ulong Offset)> windows, SafeFileHandle file)
    {
        Span<byte> body = stackalloc byte[3 * Slots * sizeof(ulong)];
        body.Clear();
        Span<ulong> words = MemoryMarshal.Cast<byte, ulong>(body);
        SafeHandle[] files = new SafeHandle[windows.Length];
        for (int i = 0; i < windows.Length; i++)
        {
            (words[i], words[Slots + i], words[(2 * Slots) + i]) = windows[i];
            files[i] = file;
        }

        return Send(Command.ShowMemory, body, files);
    }

    /// <summary>Gives the device's interrupt wire two counters: one for its rises, and one by which it is asked to look at the wire again.</summary>
    public Errno SetInterrupt(SafeFileHandle rises, SafeFileHandle again) => Send(Command.SetInterrupt, [], rises, again);

    /// <summary>Resets the device.</summary>
    public Errno Reset() => Call(Command.Reset, [], out _);

    /// <inheritdoc/>
    public void Dispose()
    {
        _isGone = true;
        socket.Dispose();
    }

    private static byte[] MakeAccess(int offset, uint value, int length)
    {
        byte[] body = new byte[12];
        BinaryPrimitives.WriteInt32LittleEndian(body, offset);
        BinaryPrimitives.WriteUInt32LittleEndian(body.AsSpan(4), value);
        BinaryPrimitives.WriteInt32LittleEndian(body.AsSpan(8), length);
        return body;
    }

    private static byte[] MakeAccess(bool isMemory, ulong address, int size, ulong value)
    {
        byte[] body = new byte[24];
        BinaryPrimitives.WriteUInt64LittleEndian(body, address);
        BinaryPrimitives.WriteUInt64LittleEndian(body.AsSpan(8), value);
        BinaryPrimitives.WriteInt32LittleEndian(body.AsSpan(16), size);
        body[20] = isMemory ? (byte)1 : (byte)0;
        return body;
    }

    private Errno Call(Command command, ReadOnlySpan<byte> body, out ulong answer)
    {
        answer = ulong.MaxValue;
        Errno error = Send(command, body);
        if (error != Errno.Success)
        {
            return error;
        }

        Span<byte> bytes = stackalloc byte[HeaderBytes + AnswerBytes];
        if (!TryFill(bytes[..HeaderBytes])
            || BinaryPrimitives.ReadInt32LittleEndian(bytes) != (int)Command.Answer
            || BinaryPrimitives.ReadUInt64LittleEndian(bytes[8..]) is not (0 or AnswerBytes))
        {
            return End();
        }

        // A reset is answered without a value.
        if (BinaryPrimitives.ReadUInt64LittleEndian(bytes[8..]) == 0)
        {
            return Errno.Success;
        }

        if (!TryFill(bytes[HeaderBytes..]))
        {
            return End();
        }

        answer = BinaryPrimitives.ReadUInt64LittleEndian(bytes[HeaderBytes..]);
        return Errno.Success;
    }

    private Errno Send(Command command, ReadOnlySpan<byte> body, params ReadOnlySpan<SafeHandle> descriptors)
    {
        if (_isGone)
        {
            return Errno.IoError;
        }

        Span<byte> header = stackalloc byte[HeaderBytes];
        header.Clear();
        BinaryPrimitives.WriteInt32LittleEndian(header, (int)command);
        BinaryPrimitives.WriteInt64LittleEndian(header[8..], body.Length);
        Span<int> numbers = stackalloc int[descriptors.Length];
        for (int i = 0; i < descriptors.Length; i++)
        {
            numbers[i] = (int)descriptors[i].DangerousGetHandle();
        }

        ReadOnlySpan<byte> first = header;
        ReadOnlySpan<int> beside = numbers;
        while (first.Length + body.Length > 0)
        {
            int sent = SocketCalls.Send(socket, first, body, beside);
            if (sent <= 0)
            {
                return End();
            }

            int fromFirst = Math.Min(sent, first.Length);
            first = first[fromFirst..];
            body = body[(sent - fromFirst)..];
            beside = [];
        }

        foreach (SafeHandle descriptor in descriptors)
        {
            GC.KeepAlive(descriptor);
        }

        return Errno.Success;
    }

    private bool TryFill(Span<byte> destination)
    {
        while (!destination.IsEmpty)
        {
            long end = Environment.TickCount64 + PatienceMilliseconds;
            while (!SocketCalls.WaitToRead(socket, LookMilliseconds))
            {
                if ((hasEnded() && !SocketCalls.WaitToRead(socket, 0)) || Environment.TickCount64 > end)
                {
                    return false;
                }
            }

            int count = SocketCalls.Receive(socket, destination, _strays, out _);
            _strays.ForEach(static descriptor => descriptor.Dispose());
            _strays.Clear();
            if (count <= 0)
            {
                return false;
            }

            destination = destination[count..];
        }

        return true;
    }

    // Where the next answer begins is not known.
    private Errno End()
    {
        _isGone = true;
        return Errno.IoError;
    }
}
