using System.Runtime.InteropServices;
using Ioasis.Devices;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.VfioUser;

/// <summary>
/// The client's end of a connection to a function in another process: requests go out, and what the function wants of memory comes in, is made as its DMA and
/// answered. All memory is shown to it without a descriptor, so that each access comes here and is translated when it comes.
/// </summary>
internal sealed class RemoteConnection : IDisposable
{
    private const ulong WholeAddressSpace = 1ul << 56;

    // What libvfio-user takes at most in one region.
    private const ulong ManyTebibytes = 1ul << 43;

    private readonly MessagePeer _peer;
    private readonly Agreement _agreement;
    private readonly Thread _dma;
    private volatile Func<DeviceConnection?>? _machine;

    private RemoteConnection(MessagePeer peer, Agreement agreement)
    {
        _peer = peer;
        _agreement = agreement;
        _dma = new(ServeDma) { IsBackground = true, Name = "vfio-user dma" };
        _dma.Start();
    }

    /// <summary>Descriptors that one message may have.</summary>
    public int MaxDescriptors => _agreement.MaxDescriptors;

    /// <summary>Bytes of data that one message may have.</summary>
    public int MaxTransfer => _agreement.MaxTransfer;

    /// <summary>Connects and agrees on what both ends can take.</summary>
    /// <exception cref="IOException">Nobody is there, or what is there speaks something else.</exception>
    public static RemoteConnection Open(string path)
    {
        MessagePeer peer = new(new(UnixSockets.Connect(path)));
        try
        {
            VersionStructure version = new(0, Agreement.NewestMinor);
            Errno error = peer.Call(
                VfioUserCommand.Version, MemoryMarshal.AsBytes(new ReadOnlySpan<VersionStructure>(in version)), Agreement.Ours.ToData().ToBytes(), out Message? reply);
            using (reply)
            {
                if (error != Errno.Success || reply!.Payload.Length < VersionStructure.Bytes)
                {
                    throw new IOException($"{path}: the server refuses version 0.{Agreement.NewestMinor}: {error}");
                }

                version = MemoryMarshal.Read<VersionStructure>(reply.Payload);
                if (version.Major != 0 || !VersionData.TryParse(reply.Payload[VersionStructure.Bytes..], out VersionData data))
                {
                    throw new IOException($"{path}: the server answers with version {version.Major}.{version.Minor}, or with capabilities that are none");
                }

                if (Agreement.TryAgree(version.Minor, data.Capabilities, out Agreement agreement) is { } wrong)
                {
                    throw new IOException($"{path}: the server's {wrong}");
                }

                RemoteConnection made = new(peer, agreement);
                made.ShowMemory(path);
                return made;
            }
        }
        catch
        {
            peer.Dispose();
            throw;
        }
    }

    /// <summary>Says in which machine the function does its DMA: null from the delegate for none, now.</summary>
    public void Use(Func<DeviceConnection?> machine) => _machine = machine;

    /// <summary>Makes a request.</summary>
    /// <param name="command">The request.</param>
    /// <param name="head">Its structure.</param>
    /// <param name="data">What follows it.</param>
    /// <param name="reply">Filled with the beginning of the answer.</param>
    /// <param name="descriptors">What goes beside it.</param>
    /// <returns>Success; the server's errno; <see cref="Errno.IoError"/> for an answer that is too short, or if the server is gone.</returns>
    public Errno Call<T>(VfioUserCommand command, in T head, ReadOnlySpan<byte> data, Span<byte> reply, params ReadOnlySpan<SafeHandle> descriptors)
        where T : unmanaged => Call(command, MemoryMarshal.AsBytes(new ReadOnlySpan<T>(in head)), data, reply, descriptors);

    /// <summary>The same with a structure in bytes.</summary>
    public Errno Call(
        VfioUserCommand command, ReadOnlySpan<byte> head, ReadOnlySpan<byte> data, Span<byte> reply, params ReadOnlySpan<SafeHandle> descriptors)
    {
        Errno error = _peer.Call(command, head, data, out Message? answer, descriptors);
        using (answer)
        {
            if (error == Errno.Success && answer!.Payload.Length < reply.Length)
            {
                return Errno.IoError;
            }

            if (error == Errno.Success)
            {
                answer!.Payload[..reply.Length].CopyTo(reply);
            }

            return error == Errno.BrokenPipe ? Errno.IoError : error;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _peer.Close();
        if (Thread.CurrentThread != _dma)
        {
            _dma.Join();
        }

        _peer.Dispose();
    }

    private void ShowMemory(string path)
    {
        Errno error = Errno.Success;
        foreach (ulong size in (ReadOnlySpan<ulong>)[WholeAddressSpace, ManyTebibytes])
        {
            error = Call(VfioUserCommand.DmaMap, new DmaMapStructure(DmaMapStructure.Bytes, DmaMapFlags.All, 0, 0, size), [], []);
            if (error == Errno.Success)
            {
                return;
            }
        }

        throw new IOException($"{path}: the server takes no memory without a descriptor: {error}");
    }

    private void ServeDma()
    {
        byte[] buffer = new byte[_agreement.MaxTransfer];
        while (_peer.TakeRequest() is { } request)
        {
            using (request)
            {
                Errno error = TryAccess(request, buffer, out DmaAccessStructure access, out ReadOnlySpan<byte> data);
                if (request.Header.WantsNoReply)
                {
                    continue;
                }

                MessageFlags flags = MessageFlags.Reply | (error == Errno.Success ? MessageFlags.None : MessageFlags.Error);
                bool went = _peer.Send(
                    new(request.Header.Id, request.Header.Command, 0, flags, (uint)error),
                    error == Errno.Success ? MemoryMarshal.AsBytes(new ReadOnlySpan<DmaAccessStructure>(in access)) : [],
                    error == Errno.Success ? data : []);
                if (!went)
                {
                    _peer.Close("it takes no messages");
                }
            }
        }
    }

    // What the function may reach is the IOMMU's to say; a function that is in no machine reaches nothing.
    private Errno TryAccess(Message request, byte[] buffer, out DmaAccessStructure access, out ReadOnlySpan<byte> data)
    {
        access = default;
        data = [];
        bool isRead = request.Header.Command == VfioUserCommand.DmaRead;
        if (!isRead && request.Header.Command != VfioUserCommand.DmaWrite)
        {
            return Errno.NotImplemented;
        }

        if (request.Payload.Length < DmaAccessStructure.Bytes)
        {
            return Errno.InvalidArgument;
        }

        access = MemoryMarshal.Read<DmaAccessStructure>(request.Payload);
        ReadOnlySpan<byte> sent = request.Payload[DmaAccessStructure.Bytes..];
        if (access.Count == 0 || access.Count > (ulong)buffer.Length || access.Address + (access.Count - 1) < access.Address
            || (!isRead && (ulong)sent.Length != access.Count))
        {
            return Errno.InvalidArgument;
        }

        if (_machine?.Invoke() is not { } machine)
        {
            return Errno.BadAddress;
        }

        DmaRequest dma = new(machine.RequesterId, new(access.Address), isRead ? DmaFlags.None : DmaFlags.Write);
        Span<byte> bytes = buffer.AsSpan(0, (int)access.Count);
        DmaStatus status = isRead ? machine.Port.Read(dma, bytes) : machine.Port.Write(dma, sent);
        data = isRead ? bytes : [];
        return status == DmaStatus.Success ? Errno.Success : Errno.BadAddress;
    }
}
