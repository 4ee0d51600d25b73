using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Ioasis.Primitives;
using Ioasis.Uapi;
using Microsoft.Extensions.Logging;

namespace Ioasis.VfioUser;

/// <summary>
/// One client's connection to one function, from the first message to the last: it serves requests in the order in which they come. What a client does
/// wrong is answered by an errno, or ends the connection; nothing of it outlives that.
/// </summary>
internal sealed partial class FunctionSession
{
    // Refused requests that are logged one by one.
    private const int MostLogged = 100;

    private readonly DeviceId _id;
    private readonly string _name;
    private readonly IVfioDeviceBackend _backend;
    private readonly ClientMemory _memory;
    private readonly MessagePeer _peer;
    private readonly ServedMachineOptions _options;
    private readonly MessageEvents _events = new();
    private Agreement _agreement = Agreement.Ours;
    private byte[] _reply = new byte[256];
    private int _replyLength;
    private SafeHandle? _replyDescriptor;
    private int _refused;

    /// <summary>Prepares one.</summary>
    /// <param name="id">The function's place.</param>
    /// <param name="backend">The function.</param>
    /// <param name="memory">Its view of the client's memory, empty.</param>
    /// <param name="peer">The connection.</param>
    /// <param name="options">How it is served.</param>
    public FunctionSession(DeviceId id, IVfioDeviceBackend backend, ClientMemory memory, MessagePeer peer, ServedMachineOptions options)
    {
        _id = id;
        _name = id.ToString();
        _backend = backend;
        _memory = memory;
        _peer = peer;
        _options = options;
    }

    /// <summary>Serves until the client goes. The device is opened for it, as VFIO's first open does, and closed after it.</summary>
    public void Run()
    {
        if (!TryBegin())
        {
            return;
        }

        _memory.Use(this);
        try
        {
            while (_peer.TakeRequest() is { } request)
            {
                using (request)
                {
                    Serve(request);
                }
            }
        }
        finally
        {
            // Whoever of the device's waits for the client's memory returns first.
            _peer.Close();
            _backend.Close();
            _memory.Use(null);
            _memory.Log = null;
            _memory.Clear();
        }
    }

    private bool TryBegin()
    {
        using Message? first = _peer.TakeRequest();
        if (first is null)
        {
            return false;
        }

        Errno error = Agree(first, out string? reason);
        if (error == Errno.Success)
        {
            error = _backend.Open();
            reason = "the device does not open";
        }

        if (error != Errno.Success)
        {
            _options.Logger.LogWarning("{Function}: a connection is refused: {Reason}", _name, reason);
            _replyLength = 0;
        }

        Answer(first.Header, error);
        if (error != Errno.Success)
        {
            _peer.Close();
        }

        return error == Errno.Success;
    }

    // VFIO_USER_VERSION.
    private Errno Agree(Message message, out string? reason)
    {
        reason = null;
        if (message.Header.Command != VfioUserCommand.Version || message.Payload.Length < VersionStructure.Bytes || message.Header.WantsNoReply)
        {
            reason = $"VERSION must come first, not {message.Header.Command} of {message.Header.Size} bytes";
            return Errno.InvalidArgument;
        }

        VersionStructure version = MemoryMarshal.Read<VersionStructure>(message.Payload);
        if (version.Major != 0)
        {
            reason = $"version {version.Major}.{version.Minor} is not known: 0.x is";
            return Errno.InvalidArgument;
        }

        if (!VersionData.TryParse(message.Payload[VersionStructure.Bytes..], out VersionData data))
        {
            reason = "the capabilities of VERSION are no JSON text that ends with a NUL";
            return Errno.InvalidArgument;
        }

        reason = Agreement.TryAgree(version.Minor, data.Capabilities, out _agreement);
        if (reason is not null)
        {
            return Errno.InvalidArgument;
        }

        Put(new VersionStructure(0, _agreement.Minor));
        Put(_agreement.ToData().ToBytes());
        return Errno.Success;
    }

    private void Serve(Message request)
    {
        _replyLength = 0;
        _replyDescriptor = null;
        _events.Use(request);
        Errno error = (request.Header.Flags & MessageFlags.TypeMask) == MessageFlags.None ? Handle(request) : Errno.InvalidArgument;
        _events.Use(null);
        if (error != Errno.Success)
        {
            Note(request.Header, error);
        }

        if (!request.Header.WantsNoReply)
        {
            Answer(request.Header, error);
        }
    }

    private Errno Handle(Message request) => request.Header.Command switch
    {
        VfioUserCommand.DmaMap => MapMemory(request),
        VfioUserCommand.DmaUnmap => UnmapMemory(request.Payload),
        VfioUserCommand.DeviceGetInfo => GetInfo(request.Payload),
        VfioUserCommand.DeviceGetRegionInfo => GetRegionInfo(request.Payload),
        VfioUserCommand.DeviceGetRegionIoFds => GetRegionIoFds(request.Payload),
        VfioUserCommand.DeviceGetIrqInfo => GetInterruptInfo(request.Payload),
        VfioUserCommand.DeviceSetIrqs => SetInterrupts(request),
        VfioUserCommand.RegionRead => ReadRegion(request.Payload),
        VfioUserCommand.RegionWrite => WriteRegion(request.Payload),
        VfioUserCommand.RegionWriteMulti => WriteRegions(request.Payload),
        VfioUserCommand.DeviceReset => _backend.Reset(),
        VfioUserCommand.DirtyPages => ReportDirtyPages(request.Payload),
        VfioUserCommand.DeviceFeature => UseFeature(request.Payload),

        // No device here migrates, as its features say.
        VfioUserCommand.MigrationRead or VfioUserCommand.MigrationWrite => Errno.NotSupported,

        // Said once, or only a device's to say.
        VfioUserCommand.Version or VfioUserCommand.DmaRead or VfioUserCommand.DmaWrite => Errno.InvalidArgument,
        _ => Errno.NotImplemented,
    };

    private void Answer(in MessageHeader request, Errno error)
    {
        MessageFlags flags = MessageFlags.Reply | (error == Errno.Success ? MessageFlags.None : MessageFlags.Error);
        MessageHeader header = new(request.Id, request.Command, 0, flags, (uint)error);
        ReadOnlySpan<byte> payload = error == Errno.Success ? _reply.AsSpan(0, _replyLength) : [];
        bool went = error == Errno.Success && _replyDescriptor is { } descriptor
            ? _peer.Send(header, [], payload, descriptor)
            : _peer.Send(header, [], payload);
        if (!went)
        {
            _peer.Close("it takes no messages");
        }
    }

    // A client can make as many mistakes as it likes, but not as many lines.
    private void Note(in MessageHeader header, Errno error)
    {
        if (++_refused <= MostLogged)
        {
            _options.Logger.LogWarning("{Function}: {Command} of {Size} bytes is refused: {Error}", _name, header.Command, header.Size, error);
        }
        else if (_refused == MostLogged + 1)
        {
            _options.Logger.LogWarning("{Function}: further refused requests of this connection are not logged", _name);
        }
    }

    // Room at the end of the reply, zeroed.
    private Span<byte> Reserve(int bytes)
    {
        int end = _replyLength + bytes;
        if (end > _reply.Length)
        {
            Array.Resize(ref _reply, Math.Max(end, 2 * _reply.Length));
        }

        Span<byte> room = _reply.AsSpan(_replyLength, bytes);
        room.Clear();
        _replyLength = end;
        return room;
    }

    private void Put<T>(in T value)
        where T : unmanaged => MemoryMarshal.Write(Reserve(Unsafe.SizeOf<T>()), value);

    private void Put(ReadOnlySpan<byte> bytes) => bytes.CopyTo(Reserve(bytes.Length));
}
