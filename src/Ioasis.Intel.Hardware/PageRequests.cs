using System.Buffers.Binary;
using Ioasis.Intel.Architecture;
using Ioasis.Platform;
using Ioasis.Primitives;

namespace Ioasis.Intel.Hardware;

/// <summary>The page request queue, its status and its event (sections 7.4, 7.5, 11.4.11). Under the register lock.</summary>
internal sealed class PageRequests(VtdIommuOptions options, HostMemory memory, UnitOutbox outbox)
{
    private const byte GroupResponseCode = 5;

    // PCIe: a Page Request's payload has the page at 63:12, the group at 11:3, L, W and R; a response the destination, the code and the group.
    private const ulong ReadBit = 1;
    private const ulong WriteBit = 2;
    private const ulong LastBit = 4;
    private const int GroupShift = 3;
    private const ulong GroupMask = 0x1ff;
    private const int ResponseDestinationShift = 48;
    private const int ResponseCodeShift = 44;
    private const int ResponseGroupShift = 32;

    private uint _status;

    /// <summary><c>PQA_REG</c>.</summary>
    public ulong Address { get; set; }

    /// <summary><c>PQH_REG</c>.</summary>
    public ulong Head { get; set; }

    /// <summary><c>PQT_REG</c>.</summary>
    public ulong Tail { get; set; }

    /// <summary><c>PRS_REG</c>.</summary>
    public uint Status => _status;

    /// <summary>The page request event.</summary>
    public EventMessage Event { get; } = new(outbox);

    /// <summary>Whether there is such a queue.</summary>
    public bool IsSupported { get; } = options.ExtendedCapabilities.Has(ExtendedCapability.PageRequestBit);

    /// <summary>Writes <c>PRS_REG</c>.</summary>
    public void WriteStatus(uint value)
    {
        _status &= ~(value & (PageRequestStatus.PendingBit | PageRequestStatus.OverflowBit));
        if (_status == 0)
        {
            Event.Withdraw();
        }
    }

    /// <summary>Puts a request that met no fault into the queue; one that finds no room is answered with success, if it wants an answer (Table 31).</summary>
    public void Queue(in PcieMessage message)
    {
        if ((_status & PageRequestStatus.OverflowBit) != 0)
        {
            Answer(message, PageResponseCode.Success);
            return;
        }

        ulong mask = (4096ul << (int)(Address & PageRequestQueue.SizeMask)) - 1;
        ulong tail = Tail & mask;
        ulong next = (tail + PageRequestDescriptor.Size) & mask;
        if (next == (Head & mask))
        {
            Note(PageRequestStatus.OverflowBit);
            Answer(message, PageResponseCode.Success);
            return;
        }

        ulong low = PageRequestDescriptor.Type | ((ulong)message.RequesterId << PageRequestDescriptor.RequesterShift);
        if (message.HasPasid)
        {
            low |= PageRequestDescriptor.PasidPresentBit | ((ulong)message.Pasid.Value << PageRequestDescriptor.PasidShift)
                | (message.IsExecute ? PageRequestDescriptor.ExecuteBit : 0)
                | (message.IsPrivileged ? PageRequestDescriptor.PrivilegedBit : 0);
        }

        // The payload's fields stand at the same places.
        Span<byte> descriptor = stackalloc byte[PageRequestDescriptor.Size];
        descriptor.Clear();
        BinaryPrimitives.WriteUInt64LittleEndian(descriptor, low);
        BinaryPrimitives.WriteUInt64LittleEndian(descriptor[8..], message.Payload);
        if (!memory.TryWrite((Address & ~0xffful) + tail, descriptor))
        {
            Answer(message, PageResponseCode.InvalidRequest);
            return;
        }

        Tail = next;
        Note(PageRequestStatus.PendingBit);
    }

    /// <summary>Answers a request that wants an answer: the last of its group; a stop marker never does.</summary>
    public void Answer(in PcieMessage message, PageResponseCode code)
    {
        const ulong Mask = ReadBit | WriteBit | LastBit;
        ulong wants = message.Payload & Mask;
        if ((wants & LastBit) != 0 && wants != LastBit)
        {
            Respond(message.RequesterId, message.Pasid, (uint)((message.Payload >> GroupShift) & GroupMask), (uint)code);
        }
    }

    /// <summary>Sends a Page Request Group Response.</summary>
    public void Respond(ushort requester, Pasid pasid, uint group, uint code) => outbox.Post(new(
        DepartureKind.PageResponse,
        Message: new(
            GroupResponseCode,
            requester,
            (ushort)options.Segment,
            pasid,
            ((ulong)requester << ResponseDestinationShift) | ((ulong)(code & 0xf) << ResponseCodeShift)
                | ((group & GroupMask) << ResponseGroupShift))));

    private void Note(uint bit)
    {
        bool quiet = _status == 0;
        _status |= bit;
        if (quiet)
        {
            Event.Raise();
        }
    }
}
