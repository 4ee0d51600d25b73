using System.Runtime.InteropServices;
using System.Text;
using Ioasis.Primitives;
using Ioasis.Uapi;
using Microsoft.Win32.SafeHandles;

namespace Ioasis.VfioUser.Tests;

/// <summary>A client of one function: what an emulator does, call by call. A thread answers what the device asks of memory that came without descriptor.</summary>
internal sealed class TestClient : IDisposable
{
    public const int Config = (int)VfioPciRegion.Config;

    private readonly MessagePeer _peer;
    private readonly Thread _answers;

    public TestClient(string path, bool agree = true)
    {
        _peer = new(new(UnixSockets.Connect(path)));
        _answers = new(Answer) { IsBackground = true };
        if (agree)
        {
            Agree("""{"capabilities":{"max_msg_fds":16,"write_multiple":true}}""").ShouldBe(Errno.Success);
            _answers.Start();
        }
    }

    /// <summary>Memory that is reached by messages: reads and writes at addresses as the device named them.</summary>
    public Dictionary<ulong, byte[]> MemoryByMessage { get; } = [];

    /// <summary>Answers to the device's requests are these errors.</summary>
    public Errno Refusal { get; set; }

    public Errno Agree(string? json, ushort major = 0, ushort minor = 1) =>
        Agree(major, minor, json is null ? [] : [.. Encoding.UTF8.GetBytes(json), 0], out _);

    public Errno Agree(ushort major, ushort minor, ReadOnlySpan<byte> data, out byte[] reply) =>
        Call(VfioUserCommand.Version, new VersionStructure(major, minor), data, out reply);

    public Errno Call<T>(VfioUserCommand command, in T head, ReadOnlySpan<byte> data, out byte[] reply, params ReadOnlySpan<SafeHandle> descriptors)
        where T : unmanaged => Call(command, MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in head)), data, out reply, descriptors);

    public Errno Call(VfioUserCommand command, ReadOnlySpan<byte> head, ReadOnlySpan<byte> data, out byte[] reply, params ReadOnlySpan<SafeHandle> descriptors)
    {
        Errno error = _peer.Call(command, head, data, out Message? message, descriptors);
        reply = message?.Payload.ToArray() ?? [];
        LastDescriptor = message is { DescriptorCount: > 0 } ? message.TakeDescriptor(0) : null;
        message?.Dispose();
        return error;
    }

    /// <summary>What came beside the last answer.</summary>
    public SafeFileHandle? LastDescriptor { get; private set; }

    public Errno Map(ulong address, ulong size, SharedMemory? memory, ulong offset = 0, DmaMapFlags flags = DmaMapFlags.All)
    {
        DmaMapStructure map = new(DmaMapStructure.Bytes, flags, offset, address, size);
        return memory is null
            ? Call(VfioUserCommand.DmaMap, map, [], out _)
            : Call(VfioUserCommand.DmaMap, map, [], out _, memory.File);
    }

    public Errno Unmap(ulong address, ulong size, DmaUnmapFlags flags = DmaUnmapFlags.None) =>
        Call(VfioUserCommand.DmaUnmap, new DmaUnmapStructure(DmaUnmapStructure.Bytes, flags, address, size), [], out _);

    public Errno TryRead(int region, ulong offset, int count, out byte[] data)
    {
        Errno error = Call(VfioUserCommand.RegionRead, new RegionAccessStructure(offset, (uint)region, (uint)count), [], out data);
        data = error == Errno.Success ? data[RegionAccessStructure.Bytes..] : data;
        return error;
    }

    public ulong Read(int region, ulong offset, int size)
    {
        TryRead(region, offset, size, out byte[] data).ShouldBe(Errno.Success);
        byte[] word = new byte[8];
        data.CopyTo(word, 0);
        return BitConverter.ToUInt64(word);
    }

    public Errno TryWrite(int region, ulong offset, ReadOnlySpan<byte> data) =>
        Call(VfioUserCommand.RegionWrite, new RegionAccessStructure(offset, (uint)region, (uint)data.Length), data, out _);

    public void Write(int region, ulong offset, int size, ulong value) =>
        TryWrite(region, offset, BitConverter.GetBytes(value).AsSpan(0, size)).ShouldBe(Errno.Success);

    /// <summary>A write of which no answer is wanted.</summary>
    public void Post(int region, ulong offset, int size, ulong value)
    {
        RegionAccessStructure access = new(offset, (uint)region, (uint)size);
        _peer.Send(
            new(7, VfioUserCommand.RegionWrite, 0, MessageFlags.NoReply, 0),
            MemoryMarshal.AsBytes(new ReadOnlySpan<RegionAccessStructure>(in access)),
            BitConverter.GetBytes(value).AsSpan(0, size)).ShouldBeTrue();
    }

    /// <summary>Memory space and bus mastering on.</summary>
    public void Enable() => Write(Config, 4, 2, 0x106);

    public Errno SetInterrupts(VfioPciInterrupt kind, VfioIrqSetFlags flags, uint start, uint count, params ReadOnlySpan<SafeHandle> counters)
    {
        byte[] head = new byte[VfioIrqSet.MinimumSize];
        BitConverter.TryWriteBytes(head, VfioIrqSet.MinimumSize);
        BitConverter.TryWriteBytes(head.AsSpan(4), (uint)flags);
        BitConverter.TryWriteBytes(head.AsSpan(8), (uint)kind);
        BitConverter.TryWriteBytes(head.AsSpan(12), start);
        BitConverter.TryWriteBytes(head.AsSpan(16), count);
        return Call(VfioUserCommand.DeviceSetIrqs, head, [], out _, counters);
    }

    public void Dispose()
    {
        _peer.Close();
        if (_answers.IsAlive)
        {
            _answers.Join();
        }

        _peer.Dispose();
    }

    private void Answer()
    {
        while (_peer.TakeRequest() is { } request)
        {
            using (request)
            {
                DmaAccessStructure access = MemoryMarshal.Read<DmaAccessStructure>(request.Payload);
                bool isRead = request.Header.Command == VfioUserCommand.DmaRead;
                byte[] data = [];
                lock (MemoryByMessage)
                {
                    (ulong start, byte[]? bytes) = MemoryByMessage.FirstOrDefault(
                        pair => access.Address >= pair.Key && access.Address + access.Count <= pair.Key + (ulong)pair.Value.Length);
                    if (bytes is not null && Refusal == Errno.Success)
                    {
                        Span<byte> place = bytes.AsSpan((int)(access.Address - start), (int)access.Count);
                        data = isRead ? place.ToArray() : data;
                        if (!isRead)
                        {
                            request.Payload[DmaAccessStructure.Bytes..].CopyTo(place);
                        }

                        _peer.Send(
                            new(request.Header.Id, request.Header.Command, 0, MessageFlags.Reply, 0),
                            MemoryMarshal.AsBytes(new ReadOnlySpan<DmaAccessStructure>(in access)),
                            data);
                        continue;
                    }
                }

                Errno error = Refusal == Errno.Success ? Errno.BadAddress : Refusal;
                _peer.Send(new(request.Header.Id, request.Header.Command, 0, MessageFlags.Reply | MessageFlags.Error, (uint)error), [], []);
            }
        }
    }
}
