namespace Ioasis.Intel.Architecture;

/// <summary>Types of descriptors in the invalidation queue (section 6.5.2; bits 11:9 and 3:0).</summary>
internal enum DescriptorType
{
    /// <summary><c>cc_inv_dsc</c> (section 6.5.2.1).</summary>
    ContextCache = 0x1,

    /// <summary><c>iotlb_inv_dsc</c> (section 6.5.2.3).</summary>
    Iotlb = 0x2,

    /// <summary><c>dev_tlb_inv_dsc</c> (section 6.5.2.5).</summary>
    DeviceTlb = 0x3,

    /// <summary><c>iec_inv_dsc</c> (section 6.5.2.8).</summary>
    InterruptEntryCache = 0x4,

    /// <summary><c>inv_wait_dsc</c> (section 6.5.2.9).</summary>
    Wait = 0x5,

    /// <summary><c>p_iotlb_inv_dsc</c> (section 6.5.2.4); 256 bits only.</summary>
    PasidIotlb = 0x6,

    /// <summary><c>pc_inv_dsc</c> (section 6.5.2.2); 256 bits only.</summary>
    PasidCache = 0x7,

    /// <summary><c>p_dev_tlb_inv_dsc</c> (section 6.5.2.6); 256 bits only.</summary>
    PasidDeviceTlb = 0x8,

    /// <summary><c>page_grp_resp_dsc</c> (section 7.6.1); 256 bits only.</summary>
    PageGroupResponse = 0x9,

    /// <summary><c>hpt_inv_dsc</c> (section 6.5.2.7); 256 bits only. Before revision 3.0 this was <c>page_strm_resp_dsc</c>.</summary>
    HostPermissionCache = 0xa,
}

/// <summary>
/// Fields of descriptors in the invalidation queue (sections 6.5.2, 7.6.1). <c>High</c>: in the second doubleword. The third and fourth of a
/// descriptor of 256 bits are reserved.
/// </summary>
internal static class Descriptor
{
    /// <summary>Bytes of a narrow descriptor.</summary>
    public const int NarrowSize = 16;

    /// <summary>Bytes of a wide descriptor.</summary>
    public const int WideSize = 32;

    /// <summary>Position of <c>G</c> where it has 2 bits: 5:4.</summary>
    public const int GranularityShift = 4;

    /// <summary>Position of <c>DID</c>, 16 bits, where there is one.</summary>
    public const int DomainIdShift = 16;

    /// <summary>Position of <c>PASID</c>, 20 bits, where there is one.</summary>
    public const int PasidShift = 32;

    /// <summary><c>cc_inv_dsc</c>, <c>dev_tlb_inv_dsc</c>: position of <c>SID</c>, 16 bits.</summary>
    public const int SourceIdShift = 32;

    /// <summary><c>cc_inv_dsc</c>: position of <c>FM</c>, 2 bits (Table 21).</summary>
    public const int FunctionMaskShift = 48;

    /// <summary><c>p_dev_tlb_inv_dsc</c>, <c>page_grp_resp_dsc</c>: position of <c>SID</c> or <c>RID</c>, 16 bits.</summary>
    public const int LowSourceIdShift = 16;

    /// <summary><c>iotlb_inv_dsc</c>: <c>DW</c>, drain writes.</summary>
    public const ulong DrainWritesBit = 1ul << 6;

    /// <summary><c>iotlb_inv_dsc</c>: <c>DR</c>, drain reads.</summary>
    public const ulong DrainReadsBit = 1ul << 7;

    /// <summary><c>dev_tlb_inv_dsc</c>: <c>S</c>, the range is larger than 4 KiB.</summary>
    public const ulong HighDeviceTlbSizeBit = 1ul << 0;

    /// <summary><c>p_dev_tlb_inv_dsc</c>: <c>GI</c>, all PASIDs.</summary>
    public const ulong HighPasidDeviceTlbGlobalBit = 1ul << 0;

    /// <summary><c>p_dev_tlb_inv_dsc</c>: <c>S</c>, the range is larger than 4 KiB.</summary>
    public const ulong HighPasidDeviceTlbSizeBit = 1ul << 11;

    /// <summary>Both device-TLB descriptors: <c>PFSID</c>, 15:12 and 63:52; reserved without <c>ECAP_REG.DIT</c>.</summary>
    public const ulong PhysicalFunctionMask = (0xful << 12) | (0xffful << 52);

    /// <summary><c>iec_inv_dsc</c>: <c>G</c>, some indexes only.</summary>
    public const ulong InterruptSelectiveBit = 1ul << 4;

    /// <summary><c>iec_inv_dsc</c>: position of <c>IM</c>, 5 bits: log2 of the indexes.</summary>
    public const int InterruptMaskShift = 27;

    /// <summary><c>iec_inv_dsc</c>: position of <c>IIDX</c>, 16 bits.</summary>
    public const int InterruptIndexShift = 32;

    /// <summary><c>inv_wait_dsc</c>: <c>IF</c>, raise the completion event.</summary>
    public const ulong WaitInterruptBit = 1ul << 4;

    /// <summary><c>inv_wait_dsc</c>: <c>SW</c>, write the status.</summary>
    public const ulong WaitStatusBit = 1ul << 5;

    /// <summary><c>inv_wait_dsc</c>: <c>FN</c>, nothing behind it runs before it.</summary>
    public const ulong WaitFenceBit = 1ul << 6;

    /// <summary><c>inv_wait_dsc</c>: <c>PD</c>, page requests are drained; reserved without <c>ECAP_REG.PDS</c>.</summary>
    public const ulong WaitDrainBit = 1ul << 7;

    /// <summary><c>inv_wait_dsc</c>: position of the status data, 32 bits.</summary>
    public const int WaitDataShift = 32;

    /// <summary><c>page_grp_resp_dsc</c>: <c>PP</c>, the response has a PASID.</summary>
    public const ulong ResponsePasidBit = 1ul << 4;

    /// <summary><c>page_grp_resp_dsc</c>: position of <c>RC</c>, 4 bits (Table 32).</summary>
    public const int ResponseCodeShift = 12;

    /// <summary><c>page_grp_resp_dsc</c>: position of <c>PRGI</c>, 9 bits, bits 75:67.</summary>
    public const int HighResponseGroupShift = 3;

    /// <summary>The type.</summary>
    public static DescriptorType Type(ulong low) => (DescriptorType)((low & 0xf) | ((low >> 5) & 0x70));

    /// <summary>The type's bits in the first doubleword.</summary>
    public static ulong TypeBits(DescriptorType type) => ((ulong)type & 0xf) | (((ulong)type & 0x70) << 5);
}

/// <summary>Granularities of <c>pc_inv_dsc</c> (section 6.5.2.2).</summary>
internal enum PasidCacheGranularity
{
    /// <summary>All PASIDs of a domain.</summary>
    Domain = 0,

    /// <summary>One PASID of a domain.</summary>
    Pasid = 1,

    /// <summary>Reserved.</summary>
    Reserved = 2,

    /// <summary>Everything.</summary>
    Global = 3,
}

/// <summary>Granularities of <c>p_iotlb_inv_dsc</c> (section 6.5.2.4); 0 and 1 are reserved.</summary>
internal enum PasidIotlbGranularity
{
    /// <summary>One PASID of a domain.</summary>
    Pasid = 2,

    /// <summary>A range of pages of it.</summary>
    Pages = 3,
}

/// <summary>Fields of a page request descriptor, <c>page_req_dsc</c>, 32 bytes (section 7.4.1.1). <c>High</c>: in the second doubleword; the others are 0.</summary>
internal static class PageRequestDescriptor
{
    /// <summary>Bytes of a descriptor.</summary>
    public const int Size = 32;

    /// <summary>Bits 7:0.</summary>
    public const ulong Type = 1;

    /// <summary><c>PP</c>: the request has a PASID.</summary>
    public const ulong PasidPresentBit = 1ul << 8;

    /// <summary>Position of <c>RID</c>, 16 bits.</summary>
    public const int RequesterShift = 16;

    /// <summary>Position of <c>PASID</c>, 20 bits.</summary>
    public const int PasidShift = 32;

    /// <summary><c>EXR</c>: execute permission is requested.</summary>
    public const ulong ExecuteBit = 1ul << 52;

    /// <summary><c>PMR</c>: supervisor privilege is requested.</summary>
    public const ulong PrivilegedBit = 1ul << 53;

    /// <summary><c>RDR</c>: read access is requested.</summary>
    public const ulong HighReadBit = 1ul << 0;

    /// <summary><c>WRR</c>: write access is requested.</summary>
    public const ulong HighWriteBit = 1ul << 1;

    /// <summary><c>LPIG</c>: the last of its group, which wants a response.</summary>
    public const ulong HighLastBit = 1ul << 2;

    /// <summary>Position of <c>PRGI</c>, 9 bits.</summary>
    public const int HighGroupShift = 3;

    /// <summary>The page's address.</summary>
    public const ulong HighAddressMask = ~0xffful;
}

/// <summary>Response codes of a page group (Table 32).</summary>
internal enum PageResponseCode
{
    /// <summary>All requests of the group were served.</summary>
    Success = 0,

    /// <summary>Some request was not.</summary>
    InvalidRequest = 1,

    /// <summary>Some request met a non-recoverable error.</summary>
    ResponseFailure = 0xf,
}
